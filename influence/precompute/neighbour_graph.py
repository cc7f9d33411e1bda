"""UMAP's graph of neighbours, as its package makes it (McInnes et al. 2018, algorithms 2 and 3), in plain numpy.

The package's own function is compiled at its first call, which takes several seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import scipy.sparse

HALVINGS = 64
"""Steps of the search for a width."""
NARROWEST = 1e-3
"""Smallest width, as a share of the mean distance."""


def neighbour_graph(rows: np.ndarray, distances: np.ndarray) -> scipy.sparse.coo_matrix:
    """Strengths (0..1) of the edges between vectors and their neighbours, symmetric, (n, n).

    Args:
        rows: (n, k), positions of each vector's nearest vectors; the first is the vector itself, or an equal one.
        distances: (n, k), to these, ascending.
    """
    import scipy.sparse

    distances = distances.astype(np.float32)
    count, k = rows.shape
    apart = np.where(distances > 0, distances, np.inf).min(1, keepdims=True)  # of the nearest that is another
    beyond = np.maximum(distances - np.where(np.isfinite(apart), apart, 0), 0).astype(np.float64)
    strengths = np.exp(-beyond / _widths(beyond, distances, np.isfinite(apart)))
    strengths[rows == np.arange(count)[:, None]] = 0
    edges = np.repeat(np.arange(count), k), rows.ravel()
    one_way = scipy.sparse.coo_matrix((strengths.astype(np.float32).ravel(), edges), (count, count)).tocsr()
    one_way.eliminate_zeros()
    return (one_way + one_way.T - one_way.multiply(one_way.T)).tocoo()


def _widths(beyond: np.ndarray, distances: np.ndarray, known: np.ndarray) -> np.ndarray:
    """For each vector the width at which its strengths, without the first, add up to log2 k, by halving: (n, 1)."""
    target = np.log2(distances.shape[1])
    low, high = np.zeros((len(beyond), 1)), np.full((len(beyond), 1), np.inf)
    width = np.ones_like(low)
    for _ in range(HALVINGS):
        much = np.exp(-beyond[:, 1:] / width).sum(1, keepdims=True) > target
        low, high = np.where(much, low, width), np.where(much, width, high)
        width = np.where(np.isinf(high), 2 * width, (low + high) / 2)
    return np.maximum(width, NARROWEST * np.where(known, distances.mean(1, keepdims=True), distances.mean()))
