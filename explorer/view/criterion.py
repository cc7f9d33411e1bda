"""What training data are judged by on Suspects: the loss of a slice, the gap between two groups, a class's error."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from explorer.runs import queries, slices
from explorer.ui import escape, state, theme
from influence.live import Criterion
from influence.run import NAT, Run, class_order, slice_rows

LOSS, GAP, ERROR = CRITERIA = ("Loss", "Gap", "Class error")
FEWEST_GROUPS, MOST_GROUPS = 2, 12
"""Values of a column of the queries that can be told apart as groups."""
NO_GROUPS = ("id", "image", "text", "title", "probabilities", "confidence", "label_probability", "loss", "x", "y")
"""Columns of the queries by which nobody belongs to a group."""


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A number made of a run's queries, which edits of the training data raise or lower.

    Attributes:
        criterion: the number as the backend takes it; a mean, where this is a sum.
        words: what it is, unescaped: "the summed loss of these 8".
        positions: of the queries that it is made of, ascending.
        now: its value with the data as they are; NaN where that is not known.
        unit: of the number: `NAT` or `theme.PROBABILITY`.
        times: the number is this many times the criterion.
    """

    criterion: Criterion
    words: str
    positions: np.ndarray
    now: float
    unit: str = NAT
    times: int = 1

    @property
    def kind(self) -> str:
        if self.criterion.error_of is not None:
            return ERROR
        return GAP if self.criterion.against else LOSS


def chosen(table: pd.DataFrame) -> int:
    """Row of the chosen prediction: the URL's, else the one that Explore opens on."""
    position = state.parsed(
        state.QUERY,
        lambda text: queries.position_by_id(table, text),
        lambda text: f"This run has no prediction with id “{text}”; edits are judged by the one that Explore opens on.",
    )
    return queries.opening(table) if position is None else position


def of_slice(run: Run, name: str, query: int) -> Judgement:
    """The summed loss of a slice's predictions; `query` is the row of the chosen prediction."""
    rows = slice_rows(run.queries(), name, query)
    losses = queries.losses(run.queries())[rows]
    words = f"the summed loss of these {len(rows):,}" if len(rows) != 1 else "the loss of this prediction"
    return Judgement(Criterion(tuple(rows.tolist())), words, rows, float(losses.sum()), times=len(rows))


def columns(table: pd.DataFrame) -> list[str]:
    """The queries' columns that divide them into a few groups."""
    found = [name for name in table.columns if name not in NO_GROUPS]
    return [name for name in found if FEWEST_GROUPS <= len(groups(table, name)) <= MOST_GROUPS]


def groups(table: pd.DataFrame, column: str) -> dict[str, np.ndarray]:
    """Value of a column -> rows of the queries that have it, ascending; those without one belong to none.

    Groups are in the order of their mean loss, the largest first. A column of lists or of too many values has none.
    """
    known = table[column].dropna()
    if not all(isinstance(value, str | bool | int | float | np.generic) for value in known):
        return {}
    names = known.map(lambda value: f"{value:g}" if isinstance(value, float | np.floating) else str(value))
    if names.nunique() > MOST_GROUPS:
        return {}
    means = pd.Series(queries.losses(table), index=table.index).groupby(names).mean()
    losses = means.sort_values(ascending=False, kind="stable")
    places = pd.Series(np.arange(len(table)), index=table.index)[names.index]
    return {str(name): places[(names == name).to_numpy()].to_numpy() for name in losses.index}


def of_gap(run: Run, column: str, one: str, other: str) -> Judgement:
    """The mean loss of one group of the queries less that of another."""
    table = run.queries()
    found = groups(table, column)
    a, b = found[one], found[other]
    losses = queries.losses(table)
    words = f"the gap in mean loss between {_named(column, one)} ({len(a):,}) and {_named(column, other)} ({len(b):,})"
    criterion = Criterion(tuple(a.tolist()), tuple(b.tolist()))
    return Judgement(criterion, words, np.union1d(a, b), float(losses[a].mean() - losses[b].mean()))


def classes_of(run: Run) -> list[str]:
    """The classes that some query has as its label."""
    labels = set(run.queries()["label"].astype(str))
    return [name for name in class_order(run.classes) if name in labels]


def of_error(run: Run, name: str) -> Judgement:
    """The error of a class: the mean probability that queries of the class are not given for it."""
    table = run.queries()
    rows = np.flatnonzero((table["label"].astype(str) == name).to_numpy())
    now = 1 - float(table["label_probability"].to_numpy(np.float64)[rows].mean())
    words = f"the error of class “{theme.group_name(name)}”"
    return Judgement(Criterion((), error_of=name), words, rows, now, theme.PROBABILITY)


def stored(run: Run, stage: str, method: str, judged: Judgement) -> np.ndarray | None:
    """Scores of a stage's examples for it from the run's stored ones, float64 (m,), read-only; None: they cannot tell.

    Raises:
        RunError: scores cannot be read, or are not finite.
    """
    if judged.kind == ERROR:
        return None
    one, other = (np.array(rows, dtype=np.int64) for rows in (judged.criterion.rows, judged.criterion.against))
    sums = slices.totals(run, stage, method, judged.kind, one)
    if judged.kind == LOSS or sums is None:
        return sums
    others = slices.totals(run, stage, method, judged.kind, other)
    if others is None:
        return None
    found = sums / len(one) - others / len(other)
    found.flags.writeable = False
    return found


def _named(column: str, value: str) -> str:
    return f"{escape.visible(column)} “{theme.group_name(value)}”"
