"""Arrays of a run: one form, compared with it before zarr opens anything."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from two_stages import NEW, OLD, QUERIES, VALUES, relisted, write

from influence.errors import RunError
from influence.run import arrays
from influence.run.reading import Run

NAME = "scores/pretrain-exact.zarr"
ZSTD = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}
PICKLE = {"name": "numcodecs.pickle", "configuration": {"protocol": 5}}


@pytest.fixture
def run(tmp_path):
    return write(tmp_path)


def restated(run, **changes):
    file = run.path / NAME / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return relisted(run.path)


def grid(*shape, name="regular"):
    return {"name": name, "configuration": {"chunk_shape": list(shape)}}


def test_what_is_written_is_of_the_form(run):
    assert np.array_equal(run.scores("pretrain", "exact")[:], VALUES["pretrain", "exact"])
    told = json.loads((run.path / NAME / "zarr.json").read_text())
    assert told["shape"] == [QUERIES, OLD]
    assert set(told) == {*arrays.FORM, "shape", "chunk_grid", "attributes"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"zarr_format": 2}, "zarr_format"),
        ({"node_type": "group"}, "node_type"),
        ({"data_type": "string"}, "data_type"),
        ({"data_type": "float64"}, "data_type"),
        ({"codecs": []}, "codecs"),
        ({"codecs": [PICKLE]}, "codecs"),
        ({"codecs": [*arrays.FORM["codecs"], ZSTD]}, "codecs"),
        ({"fill_value": 0}, "fill_value"),
        ({"storage_transformers": [{"name": "x"}]}, "storage_transformers"),
        ({"shape": [QUERIES]}, "shape"),
        ({"shape": None}, "shape"),
        ({"shape": [QUERIES, True]}, "shape"),
        ({"chunk_grid": grid(10**6, 10**6)}, "chunk_grid"),
        ({"chunk_grid": grid(0, 1024)}, "chunk_grid"),
        ({"chunk_grid": grid(64, 1024, name="other")}, "chunk_grid"),
        ({"chunk_grid": 5}, "chunk_grid"),
    ],
)
def test_other_forms_are_refused_by_name(run, changes, why):
    with pytest.raises(RunError, match=f"{NAME} of run r cannot be read: its {why} is"):
        restated(run, **changes).scores("pretrain", "exact")


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", "5", "\xff"])
def test_a_zarr_json_that_is_none(run, text):
    (run.path / NAME / "zarr.json").write_text(text, encoding="latin-1")
    with pytest.raises(RunError, match=f"{NAME} of run r cannot be read: (?!it has other contents)"):
        relisted(run.path).scores("pretrain", "exact")


def test_format_2_is_not_even_looked_at(run):
    """Its filters are codecs of numcodecs, one of which unpickles."""
    zarr.create_array(run.path / NAME, shape=(QUERIES, OLD), dtype="float32", zarr_format=2, overwrite=True)
    with pytest.raises(RunError, match="cannot be read"):
        Run(run.path, run.manifest).scores("pretrain", "exact")


@pytest.mark.parametrize("shape", [[QUERIES, NEW], [QUERIES, 10**12], [QUERIES + 1, OLD]])
def test_shapes_are_those_of_the_tables(run, shape):
    with pytest.raises(RunError, match=f"expected .{QUERIES}, {OLD}. by its tables"):
        restated(run, shape=shape).scores("pretrain", "exact")
