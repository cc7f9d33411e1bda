"""Sets of training examples that were really left out, and the measured effects on a slice of the test set."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from explorer.trust import evidence
from influence.run import Run

TABLE = "left-out"


@dataclasses.dataclass(frozen=True)
class Effect:
    """The effect of training without a set of examples on some queries, summed: nats, positive = the loss rose.

    `mended` and `broken`: how many of the queries the model then gets right that it got wrong, and the other way
    round; None where that was not kept.
    """

    start: str
    predicted: float
    measured: float
    queries: int
    mended: int | None = None
    broken: int | None = None


def effects(run: Run, stage: str, rows: Sequence[int], positions: np.ndarray) -> list[Effect]:
    """Effects of leaving out exactly the examples at `rows` on the queries at `positions`, one for each start."""
    found = {}
    if len(rows) == 1:
        found = {effect.start: effect for effect in _alone(run, stage, rows[0], positions)}
    table, wanted = run.validation(TABLE), np.unique(rows)
    for row in () if table is None else table[table["stage"] == stage].to_dict("records"):
        if np.array_equal(row["examples"], wanted):
            mended, broken = _turned(run, row["class_before"][positions], row["class_after"][positions], positions)
            predicted, measured = (
                float(row[name][positions].sum(dtype=np.float64)) for name in ("predicted", "measured")
            )
            found[row["start"]] = Effect(row["start"], predicted, measured, len(positions), mended, broken)
    return [found[start] for start in (evidence.SOLUTION, evidence.SCRATCH) if start in found]


def known(run: Run, stage: str) -> list[list[int]]:
    """The sets of a stage's examples that somebody had left out, the latest first; rows, each set once."""
    table = run.validation(TABLE)
    if table is None:
        return []
    sets = {tuple(rows.tolist()): None for rows in reversed(table[table["stage"] == stage]["examples"].tolist())}
    return [list(rows) for rows in sets]


def _alone(run: Run, stage: str, example: int, positions: np.ndarray) -> list[Effect]:
    """Effects of leaving out one example, from the leave-one-out check: it need not be left out again."""
    table = run.validation("leave-one-out")
    if table is None:
        return []
    rows = table[table["example"] == example]
    rows = rows[(rows["stage"] == stage) & rows["query"].isin(positions)]
    return [
        Effect(str(start), float(part["predicted"].sum()), float(part["measured"].sum()), len(part))
        for start, part in rows.drop_duplicates(["start", "query"]).groupby("start", sort=False)
        if len(part) == len(positions)
    ]


def _turned(
    run: Run, before: np.ndarray, after: np.ndarray, positions: np.ndarray
) -> tuple[int, int] | tuple[None, None]:
    if not run.classes:
        return None, None
    numbers = {name: number for number, name in enumerate(run.classes)}
    truth = run.queries()["label"].iloc[positions].map(numbers).to_numpy()
    return int(((before != truth) & (after == truth)).sum()), int(((before == truth) & (after != truth)).sum())
