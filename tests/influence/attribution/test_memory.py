"""What scoring holds in memory is told, what is too much is refused, and where memory runs out batches shrink."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_study

import influence.attribution.memory as memory
from influence import attribute, targets
from influence.attribution.memory import bytes_held, queries_at_once, size, with_smaller_batches
from influence.curvature.method import PER_QUERY
from influence.derivatives.objective import Objective
from influence.errors import MethodError
from influence.precompute.runs import precompute
from influence.studies.exhibit import Exhibit

SAYINGS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.fixture
def narrow(monkeypatch):
    """A machine on which batches of more than four examples do not fit."""
    asked = []
    usual = Objective.losses

    def losses(self, batch, count, *args, **options):
        asked.append(count)
        if count > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return usual(self, batch, count, *args, **options)

    monkeypatch.setattr(Objective, "losses", losses)
    return asked


def test_batches_shrink_until_they_fit_and_the_scores_are_the_same(narrow):
    expected = attribute(tiny_study(), method="exact", batch_size=4, progress=False)
    found = attribute(tiny_study(), method="exact", progress=False)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5, atol=1e-9)
    assert "pretrain: memory ran out; 4 examples at a time" in found.report["notes"]
    assert expected.report["notes"] == []


def test_a_run_goes_on_with_smaller_batches_and_says_so(narrow, tmp_path, quick_map):
    (run,) = precompute([Exhibit(tiny_study(), method="exact")], ["tiny"], tmp_path, progress=False)
    assert np.isfinite(run.scores()[:]).all()
    assert any("memory ran out; 4 examples" in note for note in run.manifest.notes)
    assert not any("memory" in warning for warning in run.manifest.warnings)
    assert max(narrow) > 4 >= narrow[-1]


@pytest.mark.parametrize("error", SAYINGS)
def test_whatever_the_device_says(error):
    seen = []

    def compute(halvings):
        seen.append(halvings)
        if halvings < 2:
            raise error
        return "done"

    assert with_smaller_batches(compute) == "done"
    assert seen == [0, 1, 2]


def test_no_batch_is_small_enough():
    def compute(halvings):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nmore")

    with pytest.raises(
        MethodError, match=r"one example at a time \(CUDA out of memory\. Tried to allocate 20\.00 GiB\.\)"
    ):
        with_smaller_batches(compute)


def test_other_errors_are_not_taken_for_it():
    with pytest.raises(RuntimeError, match="shapes"):
        with_smaller_batches(lambda halvings: (_ for _ in ()).throw(RuntimeError("shapes do not match")))


def test_what_is_held_is_what_the_sizes_say():
    study = tiny_study()
    held = bytes_held(study, 0, "cg")
    widest = max(sum(p.numel() for p in stage.model.parameters()) for stage in study.stages)
    assert held["the queries' vectors"] == 3 * len(study.queries) * widest * 8
    assert held["the scores"] == 4 * len(study.queries) * len(study.stages[0].data)
    assert held["the curvature"] == 0 < bytes_held(study, 0, "exact")["the curvature"]


def test_what_does_not_fit_the_machine_is_refused_before_anything_is_computed(monkeypatch, narrow):
    monkeypatch.setattr(
        "influence.attribution.memory.psutil.virtual_memory", lambda: type("Memory", (), {"total": 100})()
    )
    with pytest.raises(MethodError, match=r"needs .* of memory \(the queries' vectors .*and there are 100 B"):
        attribute(tiny_study(), method="exact", progress=False)
    assert not narrow


def test_it_is_told_before_it_begins(capsys):
    attribute(tiny_study(), method="identity")
    assert "of memory: the queries' vectors" in capsys.readouterr().err


def test_sizes_for_people():
    assert [size(n) for n in (0, 999, 1500, 25_000_000, 3e12)] == ["0 B", "999 B", "1.5 kB", "25 MB", "3.0 TB"]


@pytest.mark.parametrize("method", ["ekfac", "cg"])
@pytest.mark.parametrize("frozen", [True, False])
def test_queries_in_blocks_have_the_scores_that_they_have_together(frozen, method, monkeypatch):
    study = tiny_study(frozen)
    together = attribute(study, method=method, progress=False)
    widest = max(sum(p.numel() for p in stage.model.parameters()) for stage in study.stages)
    monkeypatch.setattr(memory, "QUERY_BYTES", 4 * 2 * widest * 8)  # four of six: two blocks of three
    assert queries_at_once(study, 0) == 3
    apart = attribute(study, method=method, progress=False)
    np.testing.assert_allclose(apart.values, together.values, rtol=1e-4, atol=1e-6 * np.abs(together.values).max())
    assert any("3 of 6 queries at a time" in note for note in apart.report["notes"])
    for one, other in zip(apart.report["stages"], together.report["stages"], strict=True):
        assert {key: len(one[key]) for key in PER_QUERY if key in one} == {
            key: len(other[key]) for key in PER_QUERY if key in other
        }


def test_targets_in_blocks_have_the_scores_that_they_have_together(monkeypatch):
    study = tiny_study()
    asked = [targets.mean([0, 1]), targets.mean([2]), targets.mean([3, 4, 5])]
    together = attribute(study, method="exact", targets=asked, progress=False)
    monkeypatch.setattr(memory, "QUERY_BYTES", 1)
    apart = attribute(study, method="exact", targets=asked, progress=False)
    np.testing.assert_allclose(apart.values, together.values, rtol=1e-5)


def test_a_query_is_asked_at_a_time_where_no_two_fit(monkeypatch):
    monkeypatch.setattr(memory, "QUERY_BYTES", 1)
    assert queries_at_once(tiny_study(), 0) == 1
    one, every = (bytes_held(tiny_study(), 0, "cg", at_once)["the queries' vectors"] for at_once in (1, 6))
    assert 6 * one == every < bytes_held(tiny_study(), 0, "cg")["the queries' vectors"]
