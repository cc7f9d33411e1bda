"""Histograms of a query's scores that can be added: each bar's width is a power of two.

Bars of one width are two bars each of half that width, so that histograms of parts of the scores, counted at widths of
their own, add up to the very histogram of all.
"""

from __future__ import annotations

import numpy as np

HALF = 1024
"""Bars on each side of zero."""
BARS = 2 * HALF
NONE = -160
"""Exponent of the width where all scores are zero: less than that of any other float32."""


def exponents(scores: np.ndarray) -> np.ndarray:
    """Of the width of the bars of each row of scores (Q, n), int32 (Q,): all lie within `HALF` bars of zero."""
    largest = np.abs(scores).max(axis=1, initial=0.0).astype(np.float64)
    return np.where(largest > 0, np.frexp(largest)[1] - 10, NONE).astype(np.int32)


def counted(scores: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Scores (Q, n) in each bar, int64 (Q, `BARS`); bar i holds those from (i - HALF) * width on, below the next."""
    bars = np.floor(np.ldexp(scores.astype(np.float64), -exponent[:, None])).astype(np.int64) + HALF
    bars += BARS * np.arange(len(scores))[:, None]
    return np.bincount(bars.ravel(), minlength=BARS * len(scores)).reshape(len(scores), BARS)


def widened(counts: np.ndarray, exponent: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The same counts in bars of other, no smaller widths."""
    found = np.zeros_like(counts)
    for row, shift in enumerate(np.minimum(wanted - exponent, 31)):
        bars = (np.arange(-HALF, HALF) >> shift) + HALF
        found[row] = np.bincount(bars, weights=counts[row], minlength=BARS).astype(counts.dtype)
    return found


def shown(counts: np.ndarray, width: float, limit: float, bars: int) -> tuple[np.ndarray, np.ndarray]:
    """The histogram in `bars` bars from -limit to limit, of which each fine bar belongs to that of its middle.

    Returns:
        counts and edges. A border lies by up to half a fine bar, at most 1/1024 of the largest score, elsewhere.
    """
    middles = np.clip((np.arange(-HALF, HALF) + 0.5) * width, -limit, limit)
    return np.histogram(middles, bins=bars, range=(-limit, limit), weights=counts)
