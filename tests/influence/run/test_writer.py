"""Forms in which a run is written: chunks of scores, tensors."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
from two_stages import NEW, VALUES, manifest

from influence.run import writer
from influence.run.draft import Draft
from influence.run.reading import Run
from influence.run.records import StageRecord


@pytest.mark.parametrize(
    ("shape", "chunk"),
    [
        ((40, 60), (40, 60)),
        ((10_000, 60_000), (64, 1024)),
        ((500, 1_000_000), (8, 8192)),
        ((10_000, 1_000_000), (64, 1024)),  # wider ones would hold too much of all queries
        ((1, 10**9), (1, 65536)),
    ],
)
def test_chunks_are_as_large_whatever_the_run_and_a_row_lies_in_few(shape, chunk):
    assert writer.chunk_of(shape) == chunk
    assert chunk[0] * chunk[1] <= 64 * 1024
    assert chunk[1] == 1024 or shape[0] * chunk[1] <= writer.CHUNK_SCORES


def test_score_chunks_are_raw_float32(folder):
    """As CONTRACT.md says: a reader in any language can do without a codec."""
    raw = np.frombuffer((folder / "scores/finetune-exact.zarr/c/0/0").read_bytes(), "<f4").reshape(64, NEW)
    np.testing.assert_array_equal(raw, VALUES["finetune", "exact"][:64])


def test_tied_and_sliced_weights_are_stored_whole(tmp_path):
    draft = Draft(tmp_path, "r", {})
    weight = torch.arange(6.0)
    draft.write_model("s", {"a": weight, "b": weight, "c": weight[2:]})
    written = {(name := "stages/s.safetensors"): hashlib.sha256((draft.folder / name).read_bytes()).hexdigest()}
    run = Run(draft.folder, dataclasses.replace(manifest(), stages=(StageRecord("s"),), files=written))
    assert {n: t.tolist() for n, t in run.models()["s"].items()} == {
        "a": weight.tolist(),
        "b": weight.tolist(),
        "c": weight[2:].tolist(),
    }
