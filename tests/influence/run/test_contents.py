"""Files of a run are read as they were written, also when they change after the run was opened."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
import zarr
from two_stages import NEW, OLD, QUERIES, VALUES, write

from influence.errors import RunError
from influence.run.additions import add_tables
from influence.run.reading import Run

CHUNK = "scores/pretrain-exact.zarr/c/0/0"


def flip(file):
    """One bit, with size and time as before: as a disk loses it."""
    before, held = file.stat(), bytearray(file.read_bytes())
    held[len(held) // 2] ^= 4
    file.write_bytes(held)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def run(tmp_path):
    return Run.open(write(tmp_path).path)


READERS = {
    CHUNK: lambda run: run.scores()[3],
    "scores/pretrain-exact.zarr/zarr.json": lambda run: run.scores(),
    "scores/finetune-exact.zarr/c/1/0": lambda run: run.scores("finetune")[:, 2],
    "queries.parquet": lambda run: run.queries(),
    "examples/pretrain.parquet": lambda run: run.examples("pretrain"),
    "examples/finetune.parquet": lambda run: run.scores("finetune"),
    "stages/finetune.safetensors": lambda run: run.models(),
    "stages/pretrain.safetensors": lambda run: run.shapes("pretrain"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("before", [False, True])
def test_what_a_disk_loses_after_a_run_was_opened_is_named_and_never_shown(run, name, before):
    if before:  # what was read already is compared again once the file was touched
        READERS[name](run)
        run = Run(run.path, run.manifest) if name.endswith("parquet") else run
    flip(run.path / name)
    with pytest.raises(RunError, match=f"{name.split('.zarr/z')[0]}.* of run r cannot be read: it has other contents"):
        READERS[name](run)


def test_tables_of_checks_are_compared_too(run):
    found = add_tables(run, {"noise": pd.DataFrame({"query": [0], "measured": [0.5]})})
    (name,) = found.manifest.validation.values()
    flip(run.path / name)
    with pytest.raises(RunError, match=f"{name} of run r cannot be read: it has other contents"):
        found.validation("noise")


def test_other_rows_and_columns_are_still_read(run):
    flip(run.path / CHUNK)
    scores = run.scores()
    np.testing.assert_array_equal(scores[QUERIES - 1], VALUES["pretrain", "exact"][QUERIES - 1])
    np.testing.assert_array_equal(scores[:, OLD - 1], VALUES["pretrain", "exact"][:, OLD - 1])


def test_no_chunk_is_read_that_the_run_does_not_list(tmp_path):
    """Nor another array, table or model: whoever puts a file into a run changes nothing that is read."""
    made = write(tmp_path)
    known = dict(made.manifest.files)
    del known["scores/finetune-exact.zarr/c/0/0"]
    object.__setattr__(made.manifest, "files", known)
    run = Run(made.path, made.manifest)
    assert np.isnan(run.scores("finetune")[0]).all()
    np.testing.assert_array_equal(run.scores("finetune")[64:], VALUES["finetune", "exact"][64:])
    (run.path / "curvature").mkdir()
    for name in ("curvature/pretrain-exact.safetensors", "tokens/pretrain.parquet", "shares/pretrain-exact.parquet"):
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).write_bytes(b"of a stranger")
    for table in ("examples", "queries"):
        zarr.create_array(run.path / f"embedding/{table}.zarr", shape=(NEW, 2), dtype="float32")
    assert (run.curvature("pretrain", "exact"), run.tokens("pretrain"), run.embedding()) == ({}, None, None)
    assert run.shares("pretrain", "exact", 0) == {}
    assert set(run.unlisted()) >= {"curvature/pretrain-exact.safetensors", "scores/finetune-exact.zarr/c/0/0"}
