"""Nearness in the embedding."""

import numpy as np
import pytest
import zarr

from explorer.runs import neighbours
from influence.errors import RunError
from influence.run import baselines, unit_vectors
from influence.run.manifest import read_manifest
from influence.run.reading import Run


def test_cosines_are_those_of_the_stored_vectors(small, tmp_path):
    run = small.write_run(tmp_path)
    examples, queries = (array[:] for array in run.embedding())
    found = neighbours.embedding(run).cosines(4)
    expected = examples @ queries[4] / np.linalg.norm(examples, axis=1) / np.linalg.norm(queries[4])
    assert found == pytest.approx(expected, abs=1e-6)
    assert found.dtype == np.float32


def test_the_simpler_score_of_the_checks_is_the_same_nearness(small, tmp_path):
    run = small.write_run(tmp_path)
    found = baselines(run, run.manifest.map.stage)["embedding neighbours"]()(4)
    assert found.tolist() == neighbours.embedding(run).cosines(4).tolist()


def test_runs_without_an_embedding_have_none(small, tmp_path):
    assert neighbours.embedding(small.write_run(tmp_path, embedded=False)) is None


def test_shared_vectors_cannot_be_written(small, tmp_path):
    shared = neighbours.embedding(small.write_run(tmp_path))
    with pytest.raises(ValueError, match="read-only"):
        shared.examples[0] = 0


@pytest.mark.parametrize("values", [np.zeros((7, 8)), np.full((60, 8), np.nan), np.zeros((60, 5)), np.zeros(60)])
def test_embeddings_that_do_not_fit_are_refused(small, tmp_path, values):
    run = small.write_run(tmp_path)
    zarr.save_array(run.path / "embedding" / "examples.zarr", values.astype("float32"), mode="w")
    with pytest.raises(RunError, match="embedding"):
        neighbours.embedding(Run(run.path, read_manifest(run.path)))


def test_vectors_of_length_zero_are_near_to_nothing():
    assert unit_vectors(np.array([[0, 0], [3, 4]], dtype="float32")).tolist() == [[0, 0], pytest.approx([0.6, 0.8])]


def test_random_order_is_seeded_by_the_query():
    order = neighbours.random_order(-5, 50)
    assert sorted(order) == list(range(50))
    assert order.tolist() == neighbours.random_order(-5, 50).tolist()
    assert order.tolist() != neighbours.random_order(6, 50).tolist()
