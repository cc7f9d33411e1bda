"""Sums over slices of the test set, and reasons."""

import numpy as np
import pandas as pd
import pytest
import zarr

from explorer.runs import slices
from influence import Run
from influence.run import SliceKind, slice_names, slice_rows


@pytest.fixture(scope="module")
def run(small_root):
    return Run.open(small_root / "small")


@pytest.mark.parametrize("rows", [[0], [3, 4, 11], [6, 7, 20], range(23)])
@pytest.mark.parametrize("block", [1, 40, 4_000_000])
def test_sums_are_those_of_the_whole_array(rows, block, monkeypatch):
    monkeypatch.setattr(slices, "BLOCK_SCORES", block)
    values = np.random.default_rng(0).normal(size=(23, 17)).astype("float32")
    array = zarr.create_array(zarr.storage.MemoryStore(), shape=values.shape, chunks=(7, 5), dtype="float32")
    array[:] = values
    expected = values[list(rows)].sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(slices.summed(array, list(rows)), expected, rtol=1e-12)


def test_a_missing_chunk_is_an_error_and_not_a_sum(run, monkeypatch):
    from influence.errors import RunError

    monkeypatch.setattr(slices, "summed", lambda *_: np.array([1.0, np.nan]))
    with pytest.raises(RunError, match="not finite"):
        slices.totals(run, "pretrain", "exact", "a missing chunk", np.array([0]))


def test_slices_divide_the_test_set(run):
    table = run.queries()
    names = slice_names(table)
    cells = np.concatenate([slice_rows(table, n, 0) for n in names if n.startswith(SliceKind.CELL)])
    classes = np.concatenate([slice_rows(table, n, 0) for n in names if n.startswith(SliceKind.CLASS)])
    wrong = np.flatnonzero((table["label"] != table["prediction"]).to_numpy())
    assert sorted(cells) == slice_rows(table, SliceKind.WRONG, 0).tolist() == wrong.tolist()
    assert sorted(classes) == slice_rows(table, SliceKind.ALL, 0).tolist() == list(range(len(table)))
    assert slice_rows(table, SliceKind.QUERY, 5).tolist() == [5]


def test_reasons_name_what_speaks_against_an_example():
    table = pd.DataFrame({"label": ["0", "1", "1"], "prediction": ["0", "0", "1"], "self_influence": [0.1, 0.2, 9.0]})
    quiet, disagrees, loud = slices.reasons(table, np.array([0, 1, 2]))
    assert quiet == ""
    assert "disagrees" in disagrees
    assert "self-influence" in loud
    assert "disagrees" not in loud
