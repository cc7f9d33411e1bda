"""Examples or queries of two runs, matched by id. Two rows match only if they show the same picture or text."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
import pandas as pd

from explorer.runs.cache import per_run
from explorer.runs.queries import table_of
from explorer.ui import escape, theme
from influence.run import Run


@dataclasses.dataclass(frozen=True)
class Match:
    """How the rows of a second table go with those of a first.

    `rows` (int64, one a row of the first) is the row of the second with the same id, -1 without one; `same` (bool) says
    whether both show the same picture or text.
    """

    rows: np.ndarray
    same: np.ndarray
    others: int
    """Rows of the second table whose id the first does not have."""

    @cached_property
    def complete(self) -> bool:
        """Whether both tables list the same things, in whatever order."""
        return self.others == 0 and bool(self.same.all())

    def row(self, position: int) -> int | None:
        """Row of the second table that shows what the first shows at `position`."""
        return int(self.rows[position]) if self.same[position] else None


BLOCK = 2**14
"""Examples whose pictures or texts are compared at a time: those of large tables are read for it."""


@per_run(max_entries=16, show_spinner="Comparing what the runs list …")
def match(a: Run, b: Run, table: str) -> Match:
    """How two runs' examples of a stage (or their queries) go together; compared once for all visitors."""
    return matched(table_of(a, table), table_of(b, table))


def matched(a: pd.DataFrame, b: pd.DataFrame) -> Match:
    """How the rows of `b` go with those of `a`."""
    if a is b:
        return Match(np.arange(len(a)), np.ones(len(a), dtype=bool), 0)
    rows = pd.Index(b["id"]).get_indexer(pd.Index(a["id"]))
    found = rows >= 0
    same = found.copy()
    for name in _content(a, b):
        if name not in a or name not in b:
            same[:] = False
            break
        there = np.flatnonzero(found)
        for start in range(0, len(there), BLOCK):
            part = there[start : start + BLOCK]
            same[part] &= a[name].iloc[part].to_numpy() == b[name].iloc[rows[part]].to_numpy()
    return Match(rows, same, len(b) - int(found.sum()))


def _content(a: pd.DataFrame, b: pd.DataFrame) -> list[str]:
    """Columns that hold an example's content: picture or text; its label where it has neither."""
    return [name for name in ("image", "text") if name in a or name in b] or ["label"]


def refusal(a: Run, b: Run, stage: str) -> str | None:
    """Why the runs' scores of a stage cannot be set against each other, as markdown; None if they can."""
    names = f"{escape.for_markdown(a.name)} and {escape.for_markdown(b.name)}"
    word = escape.for_markdown(theme.stage_word(stage))
    advice = "Choose a run of the same study for B, or another stage's examples."
    if stage not in b.stages or not b.methods(stage):
        return f"{escape.for_markdown(b.name)} has no scores of {word} examples, so nothing stands against A. {advice}"
    found = match(a, b, stage)
    if found.complete:
        return None
    shared, total = int((found.rows >= 0).sum()), len(found.rows)
    if not shared:
        return f"{names} cannot be compared: their {word} examples have no id in common. {advice}"
    different = shared - int(found.same.sum())
    if different:
        return (
            f"{names} cannot be compared: under {different:,} of {shared:,} shared ids their {word} examples show "
            f"different things, so the same id does not mean the same example. {advice}"
        )
    return (
        f"{names} cannot be compared: of A's {total:,} {word} examples {shared:,} are among B's "
        f"{shared + found.others:,}, and ranks mean the same only where all are. {advice}"
    )


def siblings(names: list[Run], run: Run) -> list[Run]:
    """The runs of one study and pretraining: the run's other finetuned models, and itself."""
    return [other for other in names if _pretraining(other) == _pretraining(run)]


def _pretraining(run: Run) -> tuple[object, ...]:
    said = [(first.name, first.examples, first.classes) for first in run.manifest.stages[:1]]
    return run.manifest.study, run.manifest.seed, *said
