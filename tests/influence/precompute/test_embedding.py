"""The map keeps what lies together together, and puts queries there too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from influence.precompute import embedding
from influence.precompute.embedding import map_of

ROOTS = [Path(__file__).parent, Path(embedding.__file__).parents[2]]


def clouds(each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three clouds far from each other in eight dimensions, and which is whose."""
    rng = np.random.default_rng(seed)
    which = np.arange(3 * each) % 3
    return (20 * np.eye(8)[which] + rng.normal(size=(3 * each, 8))).astype("float32"), which


@pytest.mark.parametrize("compared", [embedding.MAX_COMPARED, 0])
def test_clouds_stay_apart_and_queries_lie_in_their_own(compared, monkeypatch):
    monkeypatch.setattr(embedding, "MAX_COMPARED", compared)
    vectors, which = clouds(40)
    others, whose = clouds(5, seed=1)
    places, projected, algorithm = map_of(vectors, others, seed=0)
    assert algorithm == "UMAP, 15 neighbours"
    assert places.shape == (120, 2)
    assert places.dtype == projected.dtype == np.float32
    middles = np.stack([places[which == cloud].mean(0) for cloud in range(3)])
    for points, labels in ((places, which), (projected, whose)):
        nearest = np.linalg.norm(points[:, None] - middles, axis=2).argmin(1)
        assert (nearest == labels).all()
    np.testing.assert_array_equal(map_of(vectors, others, seed=0)[0], places)


def test_number_of_threads_stays_the_callers():
    """In a process of its own: numba sets it when its first loop runs. PyTorch only notices once it has counted."""
    program = (
        "import torch; torch.set_num_threads(1); assert torch.get_num_threads() == 1\n"
        "from influence.precompute import embedding\n"
        "from test_embedding import clouds\n"
        "embedding.map_of(clouds(40)[0], clouds(5)[0], seed=0)\n"
        "print(torch.get_num_threads())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, ROOTS)), "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_few_vectors_are_put_along_their_main_directions():
    places, projected, algorithm = map_of(np.eye(3, dtype="float32"), np.eye(3, dtype="float32")[:1], seed=0)
    assert algorithm == "PCA"
    np.testing.assert_allclose(projected[0], places[0], atol=1e-6)
