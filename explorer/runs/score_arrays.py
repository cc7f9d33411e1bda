"""Scores of a stage by a method, or simpler ones: of one query or one example, read without the others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import zarr

from explorer.runs.cache import per_run
from explorer.ui import state
from influence.errors import RunError
from influence.run import BM25, COSINE, Baseline, Run, StageScores, baselines

SIMPLER = {state.BM25: BM25, state.COSINE: COSINE}
"""Ranking of the lists -> the simpler score that it goes by."""


def scored_stages(run: Run) -> list[str]:
    """The stages whose training examples have scores, first to last."""
    return [stage for stage in run.stages if run.methods(stage)]


@per_run(max_entries=32)
def array(run: Run, stage: str, method: str) -> zarr.Array:
    """The scores of a stage's examples, (n_queries, n_examples); opened once, read only where it is indexed."""
    return run.scores(stage, method)


@per_run(max_entries=32)
def known(run: Run, stage: str, method: str) -> StageScores:
    """What the run keeps of the scores of a stage's examples: all, or the strongest."""
    return StageScores(run, stage, method)


def row(run: Run, stage: str, method: str, position: int) -> np.ndarray:
    """One query's scores of a stage's examples, float32 (n_examples,), nats, positive = helpful; NaN: not kept.

    Raises:
        RunError: the row cannot be read, or holds values that are not finite.
    """
    found = known(run, stage, method)
    with reading(run, stage, method):
        scores = found.row(position)
    if not found.kept:
        refuse_not_finite(run, stage, method, scores, f" (row {position})")
    return scores


def listed(run: Run, stage: str, method: str, position: int) -> np.ndarray | None:
    """Mask of the examples that one query's lists are of, bool (n_examples,); None: all scores are kept.

    Scores of others may be known, but between them and these lie some that are not.
    """
    found = known(run, stage, method)
    if not found.lacks:
        return None
    mask = np.zeros(found.shape[1], dtype=bool)
    mask[np.concatenate(found.lists(position, found.most))] = True
    return mask


def sampled(run: Run, stage: str, method: str) -> np.ndarray | None:
    """Mask of the random sample of examples all of whose scores are kept, bool (n_examples,); None: all are."""
    found = known(run, stage, method)
    if not found.lacks or found.kept is None:
        return None
    mask = np.zeros(found.shape[1], dtype=bool)
    mask[found.kept.sample] = True
    return mask


def spread_row(run: Run, stage: str, method: str, position: int) -> np.ndarray | None:
    """Standard deviation over trainings of one query's scores, float32 (n_examples,); None where they are of one.

    Raises:
        RunError: the row cannot be read, or holds values that are not finite.
    """
    with reading(run, stage, method):
        spread = run.spread(stage, method)
        found = None if spread is None else np.asarray(spread[position])
    if found is not None:
        refuse_not_finite(run, stage, method, found, f" (spread of row {position})")
    return found


def column(run: Run, stage: str, method: str, position: int) -> np.ndarray:
    """One example's scores for every prediction, float32 (n_queries,), nats, positive = helpful; NaN: not kept.

    Only the chunks that hold the column are read.

    Raises:
        RunError: the column cannot be read, or holds values that are not finite.
    """
    found = known(run, stage, method)
    with reading(run, stage, method):
        scores = found.column(position)
    if not found.kept:
        refuse_not_finite(run, stage, method, scores)
    return scores


def simpler(run: Run, stage: str) -> list[str]:
    """The rankings by simpler scores that a run has for a stage."""
    there = baselines(run, stage)
    return [ranking for ranking, name in SIMPLER.items() if name in there]


def simpler_row(run: Run, stage: str, ranking: str, position: int) -> np.ndarray | None:
    """One query's simpler score of every example, (n_examples,): only their order counts. None by other rankings.

    Raises:
        RunError: what it is made of cannot be read, or is not finite.
    """
    if ranking not in simpler(run, stage):
        return None
    name = SIMPLER[ranking]
    with reading(run, stage, name):
        scores = _ready(run, stage, name)(position)
    refuse_not_finite(run, stage, name, scores, f" (row {position})")
    return scores


@per_run(max_entries=4)
def _ready(run: Run, stage: str, name: str) -> Baseline:
    return baselines(run, stage)[name]()


@contextlib.contextmanager
def reading(run: Run, stage: str, method: str) -> Iterator[None]:
    """Turn an error met while scores are read into a RunError that names them."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"Scores {stage}-{method} of run {run.name} cannot be read: {error}") from error


def refuse_not_finite(run: Run, stage: str, method: str, scores: np.ndarray, where: str = "") -> None:
    """Raise RunError if `scores`, or sums of some, are not finite."""
    if not np.isfinite(scores).all():
        raise RunError(
            f"Scores {stage}-{method} of run {run.name} hold values that are not finite{where}. "
            "Compute the run again with `upstream precompute`."
        )
