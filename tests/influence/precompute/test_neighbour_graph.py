"""The graph of neighbours is that of the package."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from influence.precompute.neighbour_graph import neighbour_graph


def sets() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(200, 6)).astype("float32")
    return {
        "cloud": cloud,
        "very small and very large": cloud * np.float32(10) ** rng.integers(-3, 4, size=(200, 1)),
        "repeated": cloud[np.arange(200) % 90],
        "many the same": np.concatenate([cloud[:50], np.repeat(cloud[:2], 40, axis=0)]),
        "all the same": np.ones((40, 3), dtype="float32"),
    }


@pytest.mark.parametrize("which", sets())
def test_graph_is_the_packages(which):
    from umap.umap_ import fuzzy_simplicial_set

    vectors = sets()[which]
    distances, rows = NearestNeighbors(n_neighbors=15, algorithm="brute").fit(vectors).kneighbors(vectors)
    expected = fuzzy_simplicial_set(vectors, 15, None, "euclidean", knn_indices=rows, knn_dists=distances)[0]
    found = neighbour_graph(rows, distances)
    assert found.nnz == expected.nnz
    np.testing.assert_allclose(found.toarray(), expected.toarray(), atol=2e-5)
