"""Sets of training examples that were really left out, and the measured effects on a slice of the test set."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from explorer.trust import evidence
from influence.live import LEAVE_OUT, from_json
from influence.run import Run

TABLE, OLDER = "what-if", "left-out"
"""Where results are, and where those of older runs are."""
MEASURED = ("measured", "class_before", "class_after")


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
    wanted = tuple(np.unique(rows).tolist())
    for each in _sets(run, stage):
        if each.rows == wanted:
            mended, broken = _turned(run, each.before[positions], each.after[positions], positions)
            predicted, measured = (float(v[positions].sum(dtype=np.float64)) for v in (each.predicted, each.measured))
            found[each.start] = Effect(each.start, predicted, measured, len(positions), mended, broken)
    return [found[start] for start in (evidence.SOLUTION, evidence.SCRATCH) if start in found]


def known(run: Run, stage: str) -> list[list[int]]:
    """The sets of a stage's examples that somebody had left out, the latest first; rows, each set once."""
    return [list(rows) for rows in dict.fromkeys(each.rows for each in reversed(_sets(run, stage)))]


@dataclasses.dataclass(frozen=True)
class _Set:
    """Examples of a stage that were really left out; the rest by query, as CONTRACT.md has it."""

    rows: tuple[int, ...]
    start: str
    predicted: np.ndarray
    measured: np.ndarray
    before: np.ndarray
    after: np.ndarray


def _sets(run: Run, stage: str) -> list[_Set]:
    """The sets of a stage that were left out, of both tables that hold some, the latest last."""
    found, older, edited = [], run.validation(OLDER), run.validation(TABLE)
    for row in () if older is None else older[older["stage"] == stage].to_dict("records"):
        rows = tuple(np.unique(row["examples"]).tolist())
        found.append(_Set(rows, row["start"], *(row[name] for name in ("predicted", *MEASURED))))
    places = {int(name): row for row, name in enumerate(run.examples(stage)["id"])}
    for row in () if edited is None else edited.to_dict("records"):
        edits = from_json(row["edits"])
        out = [places[each.id] for each in edits if (each.stage, each.kind) == (stage, LEAVE_OUT) and each.id in places]
        if edits and len(out) == len(edits) and np.isfinite(row["measured"]).all():
            found.append(_Set(tuple(sorted(out)), row["start"], *(row[name] for name in ("together", *MEASURED))))
    return found


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
