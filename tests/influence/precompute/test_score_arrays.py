"""Scores are written in whole chunks, and a killed process goes on at the first one that is missing."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import torch
import zarr
from tiny import tiny_exhibit
from torch.utils.data import Subset

from influence.derivatives.objective import objectives_of
from influence.errors import RunError
from influence.precompute.needs import need_of, refuse_what_cannot_fit
from influence.precompute.query_vectors import QueryVectors
from influence.precompute.runs import precompute
from influence.precompute.score_arrays import fill
from influence.progress import Progress
from influence.run import writer
from influence.run.draft import Draft

pytestmark = pytest.mark.usefixtures("quick_map")


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(writer, "CHUNK_SHAPE", (4, 16))


def filling(draft, objective, vectors):
    solved = QueryVectors(draft.path("work/queries"), objective, len(vectors))
    solved.create()
    solved.write(slice(0, 2), vectors[:2])
    solved.write(slice(2, len(vectors)), vectors[2:])
    with Progress(visible=False) as bars, bars.step("x", total=objective.count) as bar:
        fill(draft, "exact", objective, solved, 0.0, bar)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 40, 64])
def test_whole_chunks_however_the_batches_fall(tmp_path, small_chunks, monkeypatch, batch_size):
    exhibit = tiny_exhibit()
    objective = objectives_of(exhibit.study, batch_size=batch_size)[0]
    solved = torch.randn(6, objective.trained.size, dtype=torch.float64)
    writes, real = [], zarr.Array.__setitem__
    monkeypatch.setattr(zarr.Array, "__setitem__", lambda a, k, v: (writes.append(k[1]), real(a, k, v))[1])
    draft = Draft(tmp_path, "x", {})
    filling(draft, objective, solved)
    assert all(w.start % 16 == 0 for w in writes)
    assert all(w.stop % 16 == 0 or w.stop == 40 for w in writes)
    assert draft.steps["scored pretrain exact"] == 40
    assert not np.isnan(zarr.open_array(draft.path("scores/pretrain-exact.zarr"), mode="r")[:]).any()


def test_goes_on_at_the_first_missing_chunk_with_equal_bits(tmp_path, small_chunks, monkeypatch):
    objective = objectives_of(tiny_exhibit().study, batch_size=8)[0]
    solved = torch.randn(6, objective.trained.size, dtype=torch.float64)
    whole = Draft(tmp_path, "whole", {})
    filling(whole, objective, solved)
    mark, marks = Draft.mark, []

    def killed(self, step, record=None):
        mark(self, step, record)
        marks.append(record)
        if len(marks) == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Draft, "mark", killed)
        with pytest.raises(KeyboardInterrupt):
            filling(Draft(tmp_path, "cut", {}), objective, solved)
    seen = []
    objective.stage.data = Seen(objective.stage.data, seen)
    again = Draft(tmp_path, "cut", {})
    filling(again, objective, solved)
    assert marks == [16]
    assert min(seen) == 16  # nothing that was scored is scored again
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


def test_a_run_of_several_chunks_killed_between_two_is_the_same_run(tmp_path, small_chunks, monkeypatch):
    monkeypatch.setattr("influence.derivatives.objective.BUDGET", 8 * 23 * 8)  # batches of 8
    monkeypatch.setattr("influence.derivatives.batch_size.LARGE_BATCH", 8)
    whole = precompute([tiny_exhibit()], ["one"], tmp_path / "whole", progress=False)[0]
    mark = Draft.mark

    def killed(self, step, record=None):
        mark(self, step, record)
        if step == "scored pretrain exact" and record < 40:
            raise KeyboardInterrupt

    for _ in range(2):  # 16 and 32 of 40
        with monkeypatch.context() as patch:
            patch.setattr(Draft, "mark", killed)
            with pytest.raises(KeyboardInterrupt):
                precompute([tiny_exhibit()], ["one"], tmp_path / "cut", progress=False)
    cut = precompute([tiny_exhibit()], ["one"], tmp_path / "cut", progress=False)[0]
    np.testing.assert_array_equal(cut.scores()[:], whole.scores()[:])
    assert not (cut.path / "work").exists()


def test_queries_in_parts_are_the_queries_at_once(tmp_path, monkeypatch):
    whole = precompute([tiny_exhibit()], ["one"], tmp_path / "whole", progress=False)[0]
    cg = precompute([tiny_exhibit(method="cg")], ["two"], tmp_path / "whole", progress=False)[0]
    monkeypatch.setattr(
        "influence.precompute.scoring.VECTOR_BYTES", 4 * 3 * 27 * 8
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
