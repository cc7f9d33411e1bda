"""One query's scores, ordered and summed up: the numbers behind cards, histogram, totals and map."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from influence.run import top


@dataclasses.dataclass(frozen=True)
class Lists:
    """Positions of the examples on the cards, first card first."""

    helpful: np.ndarray
    harmful: np.ndarray
    single: np.ndarray | None = None
    """Set beside `helpful` and `harmful` where the order is not by score (say, by similarity): all in one list."""

    @property
    def positions(self) -> np.ndarray:
        if self.single is not None:
            return self.single
        return np.concatenate([self.helpful, self.harmful])


def ranked(scores: np.ndarray, k: int, keep: np.ndarray) -> Lists:
    """The k most helpful and k most harmful examples among those to `keep` (a mask)."""
    positions = np.flatnonzero(keep)
    keys = scores[positions]
    return Lists(positions[top(keys, k)], positions[top(keys, k, helpful=False)])


def relative(scores: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Scores over `norms`, each example's own gradient norm; as shares of the largest.

    Examples with large gradients score high for every query. By relative scores, those that fit this one come first.
    """
    found = np.divide(scores, norms, out=np.zeros_like(scores), where=norms > 0)
    return found / (largest(found) or 1.0)


def one(scores: np.ndarray, count: int, keep: np.ndarray, order: np.ndarray) -> Lists:
    """The first `count` examples of those to `keep` in an `order` that is not by influence: a single list."""
    chosen = order[keep[order]][:count]
    return Lists(chosen[scores[chosen] > 0], chosen[scores[chosen] < 0], chosen)


def rank(scores: np.ndarray, position: int) -> int:
    """Place of an example among those of its sign, 1 = strongest."""
    own = scores[position]
    return int((scores > own).sum() if own >= 0 else (scores < own).sum()) + 1


def largest(scores: np.ndarray) -> float:
    """The size of the largest score that is known."""
    sizes = np.abs(scores)
    return float(sizes[~np.isnan(sizes)].max(initial=0.0))


def share(scores: np.ndarray, shown: np.ndarray, total: float | None = None) -> float:
    """Part of the total absolute influence that the shown examples carry, 0..1; `total`: where scores are not all."""
    total = float(np.abs(scores).sum(dtype=np.float64)) if total is None else total
    return float(np.abs(scores[shown]).sum(dtype=np.float64)) / total if total else 0.0


def totals(scores: np.ndarray, groups: pd.Series) -> pd.DataFrame:
    """Sum of the helpful and of the harmful scores by group, and the group's size; indexed by group."""
    table = pd.DataFrame(
        {
            "group": groups.to_numpy(),
            "helpful": np.maximum(scores, 0, dtype=np.float64),
            "harmful": np.minimum(scores, 0, dtype=np.float64),
        }
    )
    sums = table.groupby("group").agg(
        helpful=("helpful", "sum"), harmful=("harmful", "sum"), examples=("group", "size")
    )
    return sums.assign(net=sums["helpful"] + sums["harmful"])


def singles(scores: np.ndarray, positions: np.ndarray) -> pd.DataFrame:
    """Totals of single examples; indexed by position."""
    own = scores[positions].astype(np.float64)
    helpful, harmful = np.maximum(own, 0), np.minimum(own, 0)
    return pd.DataFrame({"helpful": helpful, "harmful": harmful, "examples": 1, "net": own}, index=positions)


def shortened(table: pd.DataFrame, count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The `count` strongest rows of totals, strongest first, and the others: together they are all."""
    strength = (table["helpful"] - table["harmful"]).to_numpy()
    order = np.argsort(-strength, kind="stable")
    return table.iloc[order[:count]], table.iloc[order[count:]]


BAR_COUNT = 41
"""Bars of a histogram; an odd number, so that one of them stands in the middle, at zero."""


def histogram(scores: np.ndarray, limit: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Counts and bin edges, symmetric about zero so that the middle bin is "near zero".

    The outermost edges are the largest score, or `limit` if that is larger.
    """
    limit = max(limit, largest(scores))
    if limit < np.finfo(np.float32).tiny:  # 41 bars could not be told apart
        limit = 1.0
    return np.histogram(scores[np.isfinite(scores)], bins=BAR_COUNT, range=(-limit, limit))


def bars(scores: np.ndarray) -> np.ndarray:
    """Place of each score's bin in its own `histogram`, int64 (n,)."""
    counts, edges = histogram(scores)
    # The last bin holds its right edge too.
    return np.minimum(np.searchsorted(edges, scores, side="right") - 1, len(counts) - 1)


def clip_limit(scores: np.ndarray) -> float:
    """The |score| at which the map's colours saturate: the 99th percentile."""
    known = scores[np.isfinite(scores)]
    return (float(np.percentile(np.abs(known), 99)) if len(known) else 0.0) or largest(known) or 1.0
