"""Regions of the map: a polygon that was drawn by lasso or box, in the URL and as a set of examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CORNERS = 40
"""A lasso keeps at most this many corners, so that the URL stays short."""


def region_text(xs: Sequence[float], ys: Sequence[float]) -> str | None:
    """A polygon for the URL: "x_y~x_y~..."; None if it has fewer than three corners."""
    if len(xs) != len(ys) or len(xs) < 3:
        return None
    step = max(1, -(-len(xs) // CORNERS))
    # Signs that need no encoding in an address.
    return "~".join(f"{x:.4g}_{y:.4g}" for x, y in zip(xs[::step], ys[::step], strict=True))


def parse_region(text: str) -> np.ndarray | None:
    """The polygon that the URL names, float64 (corners, 2), or None if it names none."""
    try:
        corners = np.array([[float(value) for value in pair.split("_")] for pair in text.split("~")[: 4 * CORNERS]])
    except ValueError:
        return None
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
        return None
    return corners


def inside(region: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mask of the points in the polygon, by the even-odd rule: bool (n,)."""
    result = np.zeros(len(x), dtype=bool)
    for (x1, y1), (x2, y2) in zip(region, np.roll(region, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        crosses = (y1 > y) != (y2 > y)
        result ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return result
