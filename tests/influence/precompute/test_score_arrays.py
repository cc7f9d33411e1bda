"""Scores are written in whole chunks, and a killed process goes on at the first one that is missing."""

from __future__ import annotations

import dataclasses
import shutil
from contextlib import suppress

import numpy as np
import pytest
import torch
import zarr
from several_pieces import computed_files, large_exhibit
from tiny import tiny_exhibit
from torch.utils.data import Subset

from influence.derivatives import batches
from influence.derivatives.objective import objectives_of
from influence.errors import RunError
from influence.precompute.needs import need_of, refuse_what_cannot_fit
from influence.precompute.pieces.query_vectors import QueryVectors
from influence.precompute.pieces.scores import begin, scores_of
from influence.precompute.pieces.sharing import Pieces
from influence.precompute.pieces.work import Work
from influence.precompute.runs import precompute
from influence.progress import Progress
from influence.run import writer
from influence.run.draft import Draft

pytestmark = pytest.mark.usefixtures("quick_map")


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(writer, "CHUNK_SHAPE", (4, 16))
    monkeypatch.setattr(batches, "SPAN", 32)


def filling(draft, study, objective, vectors):
    """Score the objective's stage for these solved queries, in pieces."""
    solved = QueryVectors(draft.path("work/queries-exact/pretrain"), objective, len(vectors))
    solved.create()
    solved.write(slice(0, 2), vectors[:2])
    solved.write(slice(2, len(vectors)), vectors[2:])
    pieces = Pieces(draft, Work(study, [objective], None, draft.folder, 0.0), print)
    with Progress(visible=False) as bars, bars.step("x", total=objective.count) as bar:
        begin(draft, objective, "exact", len(vectors))
        pieces.compute(scores_of(objective, "exact", len(vectors)), bar)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 40, 64])
def test_whole_chunks_however_the_batches_fall(tmp_path, small_chunks, monkeypatch, batch_size):
    exhibit = tiny_exhibit()
    objective = objectives_of(exhibit.study, batch_size=batch_size)[0]
    solved = torch.randn(6, objective.trained.size, dtype=torch.float64)
    writes, real = [], zarr.Array.__setitem__
    monkeypatch.setattr(zarr.Array, "__setitem__", lambda a, k, v: (writes.append(k[1]), real(a, k, v))[1])
    draft = Draft(tmp_path, "x", {})
    filling(draft, exhibit.study, objective, solved)
    assert all(w.start % 16 == 0 for w in writes)
    assert all(w.stop % 16 == 0 or w.stop == 40 for w in writes)
    assert list(draft.steps) == ["array pretrain exact", *(f"scores pretrain exact {start}" for start in (0, 32))]
    assert not np.isnan(zarr.open_array(draft.path("scores/pretrain-exact.zarr"), mode="r")[:]).any()


def test_goes_on_at_the_first_missing_piece_with_equal_bits(tmp_path, small_chunks, monkeypatch):
    study = tiny_exhibit().study
    objective = objectives_of(study, batch_size=8)[0]
    solved = torch.randn(6, objective.trained.size, dtype=torch.float64)
    whole = Draft(tmp_path, "whole", {})
    filling(whole, study, objective, solved)
    mark, marks = Draft.mark, []

    def killed(self, step, record=None):
        mark(self, step, record)
        marks.append(step)
        if len(marks) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Draft, "mark", killed)
        with pytest.raises(KeyboardInterrupt):
            filling(Draft(tmp_path, "cut", {}), study, objective, solved)
    seen = []
    objective.stage.data = Seen(objective.stage.data, seen)
    again = Draft(tmp_path, "cut", {})
    filling(again, study, objective, solved)
    assert marks == ["array pretrain exact", "scores pretrain exact 0"]
    assert min(seen) == 32  # nothing that was scored is scored again
    arrays = [zarr.open_array(d.path("scores/pretrain-exact.zarr"), mode="r")[:] for d in (whole, again)]
    np.testing.assert_array_equal(*arrays)


class Seen(Subset):
    """A data set that notes which examples were asked for."""

    def __init__(self, data, seen):
        super().__init__(data, range(len(data)))
        self.seen = seen

    def __getitem__(self, position):
        self.seen.append(position)
        return super().__getitem__(position)

    def __getitems__(self, positions):
        self.seen.extend(positions)
        return super().__getitems__(positions)


PIECES = [
    "axes pretrain ekfac", "sums pretrain ekfac 4096", "pull ekfac 256", "scores pretrain ekfac 4096",
    "self-influence pretrain ekfac 4096", "scores pretrain identity 0",
]  # fmt: skip


def test_a_run_in_several_pieces_killed_after_one_of_each_kind_is_the_same_run(tmp_path, monkeypatch):
    """To the last byte, whatever was computed by which process."""
    (whole,) = precompute([large_exhibit()], ["one"], tmp_path / "whole", progress=False)
    mark, kills = Draft.mark, []

    def killed(self, step, record=None):
        mark(self, step, record)
        if step in PIECES and step not in kills:
            kills.append(step)
            raise KeyboardInterrupt

    cut = None
    while cut is None:
        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(Draft, "mark", killed)
            (cut,) = precompute([large_exhibit()], ["one"], tmp_path / "cut", progress=False)
    assert kills == PIECES
    assert computed_files(cut) == computed_files(whole)
    assert not (cut.path / "work").exists()


def test_queries_in_parts_are_the_queries_at_once(tmp_path, monkeypatch):
    whole = precompute([tiny_exhibit()], ["one"], tmp_path / "whole", progress=False)[0]
    cg = precompute([tiny_exhibit(method="cg")], ["two"], tmp_path / "whole", progress=False)[0]
    monkeypatch.setattr(
        "influence.precompute.pieces.query_block.VECTOR_BYTES", 4 * 3 * 27 * 8
    )  # four of the six queries at a time
    parts = precompute([tiny_exhibit()], ["one"], tmp_path / "parts", progress=False)[0]
    for stage in ("pretrain", "finetune"):
        np.testing.assert_allclose(parts.scores(stage)[:], whole.scores(stage)[:], rtol=1e-5, atol=1e-9)
    iterated = precompute([tiny_exhibit(method="cg")], ["two"], tmp_path / "parts", progress=False)[0]
    for before, after in zip(cg.manifest.scores[:2], iterated.manifest.scores[:2], strict=True):
        assert len(before.report["residuals"]) == len(after.report["residuals"]) == 6
        assert len(after.report["iterations"]) == 6


# What a run needs


def test_need_is_what_the_run_then_takes(tmp_path):
    exhibit = tiny_exhibit()
    need = need_of(exhibit)
    assert need.parameters == {"pretrain": (23, 23), "finetune": (12, 27)}
    assert (need.examples, need.queries) == ({"pretrain": 40, "finetune": 20}, 6)
    run = precompute([exhibit], ["one"], tmp_path, progress=False)[0]
    chunks = sum(f.stat().st_size for f in (run.path / "scores").rglob("c/*/*"))
    assert need.scores == chunks
    lines = "\n".join(need.lines("one"))
    for words in ("method exact, 6 queries", "pulled back through finetune by one pass over its 20 examples"):
        assert words in lines
    assert "Warning" not in lines
    assert "pulled back" not in "\n".join(need_of(tiny_exhibit("updated")).lines("one"))
    assert "Warning: this machine has" in dataclasses.replace(need, vectors=10**15).lines("one")[-1]


def test_a_disk_or_a_memory_that_is_too_small_is_refused_before_anything_is_done(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(RunError, match=r"need .* kB of disk, .* has 1.0 kB free. Take fewer queries"):
            precompute([tiny_exhibit()], ["one"], tmp_path / "new" / "runs", progress=False)
    assert not (tmp_path / "new").exists()
    memory = type("Memory", (), {"total": 100})
    monkeypatch.setattr("influence.precompute.needs.psutil.virtual_memory", lambda: memory)
    with pytest.raises(RunError, match=r"vectors of a query need .* of memory; this machine has 100 B"):
        refuse_what_cannot_fit({"one": need_of(tiny_exhibit())}, tmp_path)
