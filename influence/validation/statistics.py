"""Correlations, overlaps and bootstrap intervals: plain functions of arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

BOOTSTRAP_DRAWS = 400
"""Resamplings of a bootstrap."""


def pearson(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlation of each row of `first` with that of `second`, (R, n) -> (R,); NaN where a row is constant."""
    first, second = (np.asarray(each, dtype=np.float64) for each in (first, second))
    a, b = (each - each.mean(1, keepdims=True) for each in (first, second))
    size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    # The deviations of a constant row are rounding, not exactly zero.
    floor = 1e-12 * np.sqrt((first**2).sum(1) * (second**2).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(size > floor, (a * b).sum(1) / size, np.nan)


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rank correlation of each row of `first` with that of `second`, (R, n) -> (R,); ties share their mean rank."""
    return pearson(rankdata(first, axis=1), rankdata(second, axis=1))


def slope(predicted: np.ndarray, measured: np.ndarray) -> float:
    """Slope of the regression line of `measured` on `predicted`, over all entries; 1 if the sizes agree."""
    x, y = (np.asarray(each, dtype=np.float64).ravel() for each in (predicted, measured))
    x = x - x.mean()
    return float(x @ y / (x @ x)) if x.any() else float("nan")


def interval(
    statistic: Callable[[np.ndarray], float], count: int, generator: np.random.Generator, draws: int = BOOTSTRAP_DRAWS
) -> tuple[float, float]:
    """Bootstrap interval (95 %, percentiles) of a statistic.

    Args:
        statistic: positions, drawn with replacement from `count` -> value.
        count: size of the sample.
        generator: of the draws.
        draws: resamplings.

    Returns:
        Lower and upper end; NaN if there are fewer than three positions, or the statistic is NaN for over half of them.
    """
    if count < 3:
        return float("nan"), float("nan")
    found = np.array([statistic(generator.integers(0, count, count)) for _ in range(draws)])
    found = found[np.isfinite(found)]
    if len(found) < draws / 2:
        return float("nan"), float("nan")
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def mean_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean of the finite entries of `values` (n,), and its bootstrap interval: (mean, low, high)."""
    values = values[np.isfinite(values)]
    mean = float(values.mean()) if len(values) else float("nan")
    low, high = interval(lambda rows: float(values[rows].mean()), len(values), np.random.default_rng(seed))
    return mean, low, high


def overlap(first: np.ndarray, second: np.ndarray, k: int) -> np.ndarray:
    """Share (0..1) of the k largest and k smallest entries of each row that both matrices share, (R, n) -> (R,)."""
    shared = np.zeros(len(first))
    for side in (1, -1):
        a, b = (np.argpartition(-side * each, k - 1, axis=1)[:, :k] for each in (first, second))
        shared += [len(np.intersect1d(x, y)) for x, y in zip(a, b, strict=True)]
    return shared / (2 * k)


def found_by(order: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The detection curve of `wanted` examples when all are checked in `order`.

    Returns:
        Share of the examples that are checked, and share of the wanted ones found by then, both (m + 1,) from 0 to 1;
        and the area under the curve: 0.5 is chance, 1 - len(wanted) / (2 m) the best possible.
    """
    hits = np.isin(order, wanted)
    checked = np.arange(len(order) + 1) / len(order)
    found = np.concatenate([[0.0], np.cumsum(hits) / max(1, len(wanted))])
    return checked, found, float(np.trapezoid(found, checked))
