"""The strongest examples of one query, helpful and harmful, of each stage, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from influence.errors import RunError, listed
from influence.run.lists.ranking import top
from influence.run.reading import Run

HELPFUL, HARMFUL = "helpful", "harmful"
SHOWN = ("label", "title", "source", "text")
"""Columns of the examples that are taken along where they are there."""


def position_of(run: Run, identity: int) -> int:
    """The row of the run's query with this id.

    Raises:
        RunError: it has none.
    """
    ids = run.queries()["id"].to_numpy()
    found = np.flatnonzero(ids == identity)
    if not len(found):
        raise RunError(f"Run {run.name} has no query with id {identity}; it has {listed(map(str, ids))}.")
    return int(found[0])


def stored_scores(run: Run, position: int, stages: Sequence[str]) -> dict[str, np.ndarray]:
    """Stage -> stored scores (m,) of the query at a row, by the run's default method; of stages that have any.

    NaN where the run keeps the strongest, and not this one.

    Raises:
        RunError: none of the stages has scores, or some of the query's are missing.
    """
    found = {stage: _row(run, stage, position) for stage in stages if run.methods(stage)}
    if not found:
        raise RunError(f"Run {run.name} holds no scores of {listed(map(repr, stages), ' and ')}.")
    for stage, scores in found.items():
        if not np.isfinite(scores).all() and not run.kept(stage, run.methods(stage)[0]):
            raise RunError(f"Scores of stage {stage!r} of run {run.name} are not all there. Compute the run again.")
    return found


def _row(run: Run, stage: str, position: int) -> np.ndarray:
    kept = run.kept(stage, run.methods(stage)[0])
    if kept is None:
        return np.asarray(run.scores(stage)[position])
    found = np.full(kept.count, np.nan, np.float32)
    rows, scores = kept.strongest(position)
    found[rows] = scores
    return found


def strongest(run: Run, scores: Mapping[str, np.ndarray], count: int) -> pd.DataFrame:
    """Of each stage the `count` most helpful examples, then the most harmful, each strongest first.

    Args:
        run: that the examples are of.
        scores: stage -> (m,), positive = helpful.
        count: of each sign; there may be fewer of that sign.

    Returns:
        `stage`, `kind` ("helpful", "harmful"), `rank` (from 1), `id`, `score`, and what the run has of `SHOWN`.
    """
    parts = []
    for stage, row in scores.items():
        table = run.examples(stage)
        for kind in (HELPFUL, HARMFUL):
            places = top(np.asarray(row), count, kind == HELPFUL)
            columns = {"stage": stage, "kind": kind, "rank": np.arange(1, len(places) + 1)}
            taken = table[["id", *(name for name in SHOWN if name in table)]].iloc[places].reset_index(drop=True)
            part = pd.concat([pd.DataFrame(columns, index=taken.index), taken], axis=1)
            part.insert(4, "score", np.asarray(row)[places])
            parts.append(part)
    return pd.concat(parts, ignore_index=True)
