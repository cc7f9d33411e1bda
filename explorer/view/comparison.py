"""Two answers side by side: rank correlation, overlap of their lists, ranks of an example on both sides."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
import pandas as pd

from explorer.ui import amounts, theme
from explorer.view import lists
from explorer.view.query import Query
from influence.live import Target
from influence.run import NAT, ORDER_ONLY, Run

DEPTHS = (5, 10, 20, 50, 100)
"""Lengths of the lists whose overlap is tabled."""
ORDERS = (
    (0.9995, "the same order"),
    (0.95, "nearly the same order"),
    (0.7, "much the same order"),
    (0.3, "a loosely similar order"),
    (-0.1, "hardly any common order"),
    (-1.0, "rather the opposite order"),
)
"""Smallest rank correlation -> words for how much two orders agree."""


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two answers; `scores` are float32 (n_examples,), nats, positive = helpful, ordered as A's examples."""

    run: Run
    query: Query
    stage: str
    method: str
    target: Target | None
    scores: np.ndarray
    listed: np.ndarray | None = None
    """Mask of the examples that lists are of, where the run keeps the strongest scores alone; None: all."""
    sampled: np.ndarray | None = None
    """Mask of its random sample of examples, all of whose scores it keeps; None: all examples."""
    told: tuple[str, ...] = ()
    """For scores computed live: why their size means nothing, if it does not."""

    @property
    def asked(self) -> tuple[object, ...]:
        """The question of the side; sides with the same question have the same scores."""
        return self.run.name, self.query.row["id"], self.stage, self.method, self.target

    @property
    def order_only(self) -> tuple[str, ...]:
        """Why the size of the scores means nothing, a sentence each; empty: they are nats, perhaps by a slope."""
        if self.times != 1:
            return ()
        return tuple(dict.fromkeys([*self.run.order_only(self.method, self.stage), *self.told]))

    @property
    def times(self) -> float:
        """What scores are multiplied by to be nats."""
        slope = amounts.slope(self.run, self.method, self.stage, self.told)
        return slope.times if slope else 1.0

    @property
    def unit(self) -> theme.Unit:
        return theme.unit_of(self.scores, ORDER_ONLY if self.order_only else NAT, self.times)

    def ordered(self, rows: np.ndarray) -> Side:
        """The side with its scores in another order of the examples."""
        masks = ("listed", "sampled")
        ordered = {name: mask[rows] for name in masks if (mask := getattr(self, name)) is not None}
        return dataclasses.replace(self, scores=self.scores[rows], **ordered)

    def strongest(self, count: int) -> lists.Lists:
        """Its lists by influence."""
        every = np.ones(len(self.scores), dtype=bool) if self.listed is None else self.listed
        return lists.ranked(self.scores, count, every)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A and B, and how many examples each of their lists shows."""

    a: Side
    b: Side
    count: int

    @property
    def examples(self) -> pd.DataFrame:
        return self.a.run.examples(self.a.stage)

    @cached_property
    def lists(self) -> tuple[lists.Lists, lists.Lists]:
        return self.a.strongest(self.count), self.b.strongest(self.count)

    @cached_property
    def correlation(self) -> float:
        """Of examples that were not chosen by their scores: of all, or of those in both samples."""
        return rank_correlation(self.a.scores[self.common], self.b.scores[self.common])

    @cached_property
    def common(self) -> np.ndarray:
        """Mask of the examples that the correlation is of."""
        found = np.ones(len(self.examples), dtype=bool)
        for mask in (self.a.sampled, self.b.sampled):
            found = found if mask is None else found & mask
        return found

    @cached_property
    def one_unit(self) -> bool:
        """Whether both are nats of one slope, so that sizes may be compared on one axis and not only their orders."""
        return not self.a.order_only and not self.b.order_only and self.a.times == self.b.times

    @cached_property
    def units(self) -> tuple[theme.Unit, theme.Unit]:
        """The unit of either side; one for both, that of the larger scores, where they can be compared."""
        if self.one_unit:
            unit = theme.unit_of(np.concatenate([self.a.scores, self.b.scores]), NAT, self.a.times)
            return unit, unit
        return self.a.unit, self.b.unit


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's: 1 the same order, 0 none in common, -1 the opposite; NaN where all scores of a side are equal."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(pd.Series(a).rank(), pd.Series(b).rank())[0, 1])


def order_words(correlation: float) -> str:
    """A rank correlation in words."""
    if np.isnan(correlation):
        return "no order at all on one side"
    return next(words for least, words in ORDERS if correlation >= least)


def overlaps(pair: Pair) -> pd.DataFrame:
    """For each length of the lists, how many both have, and how many they would by chance."""
    count, rows = len(pair.examples), []
    most = min([count, *(int(side.listed.sum()) for side in (pair.a, pair.b) if side.listed is not None)])
    for depth in (depth for depth in DEPTHS if depth <= most):
        a, b = (side.strongest(depth) for side in (pair.a, pair.b))
        helpful, harmful = (np.intersect1d(*two) for two in ((a.helpful, b.helpful), (a.harmful, b.harmful)))
        rows.append((depth, len(helpful), len(harmful), depth * depth / count))
    return pd.DataFrame(rows, columns=["list of", "helpful in both", "harmful in both", "by chance"])


def list_table(pair: Pair) -> pd.DataFrame:
    """Every example that a list of either side shows, with its rank and score on both; ranks count within a sign."""
    a, b = pair.lists
    shown = list(dict.fromkeys(np.concatenate([a.helpful, b.helpful, a.harmful, b.harmful]).tolist()))
    table = pair.examples.iloc[shown]
    columns: dict[str, object] = {"id": table["id"].to_numpy(), "label": table["label"].to_numpy()}
    for name, side, unit in (("A", pair.a, pair.units[0]), ("B", pair.b, pair.units[1])):
        columns[f"rank in {name}"] = [place_words(side.scores, place) for place in shown]
        columns[f"score in {name}, {unit.stored}"] = side.scores[shown]
    return pd.DataFrame(columns)


def score_table(pair: Pair) -> pd.DataFrame:
    """All examples with their scores on both sides, the strongest on either first."""
    unit_a, unit_b = (unit.stored for unit in pair.units)
    table = pd.DataFrame(
        {
            "id": pair.examples["id"].to_numpy(),
            "label": pair.examples["label"].to_numpy(),
            f"score in A, {unit_a}": pair.a.scores,
            f"score in B, {unit_b}": pair.b.scores,
        }
    )
    sizes = [np.abs(side.scores) / (lists.largest(side.scores) or 1.0) for side in (pair.a, pair.b)]
    order = np.argsort(-np.fmax(*sizes), kind="stable")
    return table.iloc[order[: int(np.isfinite(np.fmax(*sizes)).sum())]]


def place_words(scores: np.ndarray, position: int) -> str:
    """Rank of an example among those of its sign: "▲ 37"."""
    score = float(scores[position])
    if score == 0 or np.isnan(score):
        return "not kept" if np.isnan(score) else "0"
    return f"{theme.HELPFUL if score > 0 else theme.HARMFUL} {lists.rank(scores, position):,}"
