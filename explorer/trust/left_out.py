"""Sets of training examples that were really left out, and the measured effects on a slice of the test set."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from explorer.runs.cache import per_run
from explorer.trust import evidence
from influence.live import LEAVE_OUT, from_json
from influence.run import Run

TABLE, OLDER = "what-if", "left-out"
"""Where results are, and where those of older runs are."""
MEASURED = ("measured", "class_before", "class_after")


@dataclasses.dataclass(frozen=True)
class Effect:
    """The effect of training with other data on some queries, summed: nats, positive = the loss rose.

    `mended` and `broken`: how many of the queries the model then gets right that it got wrong, and the other way
    round; None where that was not kept.
    """

    start: str
    predicted: float
    measured: float
    queries: int
    mended: int | None = None
    broken: int | None = None

    @property
    def mean(self) -> Effect:
        """The same, of the mean loss."""
        share = 1 / max(1, self.queries)
        return dataclasses.replace(self, predicted=self.predicted * share, measured=self.measured * share)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A training with other data: by query, changes of the loss and classes before and after, as CONTRACT.md has it."""

    start: str
    predicted: np.ndarray
    measured: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def effect(self, run: Run, positions: np.ndarray) -> Effect:
        """Its effect on the queries at `positions`."""
        mended, broken = _turned(run, self.before[positions], self.after[positions], positions)
        predicted, measured = (float(v[positions].sum(dtype=np.float64)) for v in (self.predicted, self.measured))
        return Effect(self.start, predicted, measured, len(positions), mended, broken)


def trained(row: Mapping[Hashable, Any], predicted: str = "together") -> Trained:
    """A row of a table of trainings, whose column `predicted` has the prediction."""
    return Trained(row["start"], *(row[name] for name in (predicted, *MEASURED)))


def effects(run: Run, stage: str, rows: Sequence[int], positions: np.ndarray) -> list[Effect]:
    """Effects of leaving out exactly the examples at `rows` on the queries at `positions`, one for each start."""
    found = {}
    if len(rows) == 1:
        found = {effect.start: effect for effect in _alone(run, stage, rows[0], positions)}
    found |= {trained.start: trained.effect(run, positions) for trained in trainings(run, stage, rows)}
    return [found[start] for start in (evidence.SOLUTION, evidence.SCRATCH) if start in found]


def trainings(run: Run, stage: str, rows: Sequence[int]) -> list[Trained]:
    """Trainings without exactly the examples at `rows`, the latest last."""
    wanted = tuple(np.unique(rows).tolist())
    return [trained for each, trained in _sets(run, stage) if each == wanted]


def known(run: Run, stage: str) -> list[list[int]]:
    """The sets of a stage's examples that somebody had left out, the latest first; rows, each set once."""
    return [list(rows) for rows in dict.fromkeys(rows for rows, _ in reversed(_sets(run, stage)))]


def _sets(run: Run, stage: str) -> list[tuple[tuple[int, ...], Trained]]:
    """The sets of a stage's examples that were left out, of both tables that hold some, the latest last."""
    found, older, edited = [], run.validation(OLDER), run.validation(TABLE)
    for row in () if older is None else older[older["stage"] == stage].to_dict("records"):
        found.append((tuple(np.unique(row["examples"]).tolist()), trained(row, "predicted")))
    for row in () if edited is None else edited.to_dict("records"):
        edits = from_json(row["edits"])
        out = rows_of(run, stage, [each.id for each in edits if (each.stage, each.kind) == (stage, LEAVE_OUT)])
        if edits and len(out) == len(edits) and np.isfinite(row["measured"]).all():
            found.append((tuple(sorted(out)), trained(row)))
    return found


def rows_of(run: Run, stage: str, ids: Sequence[int]) -> list[int]:
    """Rows of the examples of these ids, in their order, without those that the stage has not."""
    found = _places(run, stage).get_indexer(pd.Index(ids)) if ids else np.empty(0, int)
    return found[found >= 0].tolist()


@per_run(max_entries=4)
def _places(run: Run, stage: str) -> pd.Index:
    return pd.Index(run.examples(stage)["id"])


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
