"""Edits of the training data that were really trained with, and the measured effects on what is judged by."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from explorer.trust import evidence, left_out
from explorer.trust.left_out import TABLE, Effect, Trained
from explorer.view.criterion import GAP, LOSS, Judgement
from influence.live import LEAVE_OUT, Alteration, as_json
from influence.run import Run


def effects(run: Run, alterations: Sequence[Alteration], positions: np.ndarray) -> list[Effect]:
    """Effects of exactly these edits on the queries at `positions`, one for each start."""
    rows = _rows_left_out(run, alterations)
    if rows:
        # Checks leave examples out, too.
        return left_out.effects(run, alterations[0].stage, rows, positions)
    return [trained.effect(run, positions) for trained in _trainings(run, alterations)]


def judged(run: Run, alterations: Sequence[Alteration], by: Judgement) -> list[Effect]:
    """Effects of exactly these edits on a judgement, one for each start, in its unit.

    A class's error follows from losses where these are of the true class.
    """
    if by.kind == LOSS:
        return effects(run, alterations, by.positions)
    found = []
    for trained in _trainings(run, alterations):
        predicted, measured = (_change(run, by, losses) for losses in (trained.predicted, trained.measured))
        if predicted is not None and measured is not None:
            whole = trained.effect(run, by.positions)
            found.append(dataclasses.replace(whole, predicted=predicted, measured=measured))
    return found


def _change(run: Run, by: Judgement, losses: np.ndarray) -> float | None:
    """The change of a gap or error, by those of the queries' losses; None where they do not tell."""
    if by.kind == GAP:
        one, other = (losses[list(rows)].mean(dtype=np.float64) for rows in (by.criterion.rows, by.criterion.against))
        return float(one - other)
    table = run.queries().iloc[by.positions]
    before, probability = (table[name].to_numpy(np.float64) for name in ("loss", "label_probability"))
    if not np.allclose(np.exp(-before), probability, atol=1e-3):
        return None
    return float((probability - np.exp(-before - losses[by.positions])).mean())


def _trainings(run: Run, alterations: Sequence[Alteration]) -> list[Trained]:
    """Trainings with exactly these edits, one for each start, the latest."""
    rows, found = _rows_left_out(run, alterations), dict[str, Trained]()
    if rows:
        found = {trained.start: trained for trained in left_out.trainings(run, alterations[0].stage, rows)}
    table = run.validation(TABLE)
    for row in () if table is None or rows else table[table["edits"] == as_json(alterations)].to_dict("records"):
        if np.isfinite(row["measured"]).all():
            found[row["start"]] = left_out.trained(row)
    return [found[start] for start in (evidence.SOLUTION, evidence.SCRATCH) if start in found]


def _rows_left_out(run: Run, alterations: Sequence[Alteration]) -> list[int]:
    """Rows of the stage of the edits, if they do nothing but leave some of its examples out; else none."""
    stages = {each.stage for each in alterations}
    if len(stages) != 1 or any(each.kind != LEAVE_OUT for each in alterations):
        return []
    rows = left_out.rows_of(run, alterations[0].stage, [each.id for each in alterations])
    return rows if len(rows) == len(alterations) else []
