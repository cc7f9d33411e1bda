"""Pieces on a cluster of two nodes: the same bytes, whatever dies meanwhile; and what cannot be."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import ray
from ray.cluster_utils import Cluster
from several_pieces import computed_files, large_exhibit

from influence.engine import Fingerprint, OnRay, Piece, on_ray
from influence.engine.actor import processor
from influence.engine.cluster import ADDRESS, AUTHENTICATION
from influence.errors import EngineError, TrainingError
from influence.live.alterations import LEAVE_OUT, RELABEL, Alteration
from influence.precompute.pieces.sharing import Pieces
from influence.precompute.runs import precompute
from influence.run.reading import Run
from influence.studies.request import exhibits_for
from influence.validation import validate, what_if
from influence.validation.bench import Bench
from influence.validation.checks import leave_one_out, strongest

HERE = Path(__file__).parent
STUDY = "from tiny import tiny_exhibit\n\ndef study():\n    return tiny_exhibit()\n"


@dataclass(frozen=True)
class Squares:
    """A job without models. Pieces are (number, what happens): a file is where a process leaves its number first."""

    folder: str = ""
    fingerprint: Fingerprint = field(default=Fingerprint("same", (1.0,)))
    worker_fingerprint: Fingerprint = field(default=Fingerprint("same", (1.0 + 1e-6,)))

    def worker(self):
        return Squarer(self)


class Squarer:
    def __init__(self, job):
        self.job, self.fingerprint = job, job.worker_fingerprint

    def compute(self, of):
        number, what = of
        if what == "refuse":
            raise TrainingError("it stopped short")
        if what == "memory":
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")
        if what == "bug":
            raise ZeroDivisionError("of the model's own")
        if what == "always":
            os._exit(1)
        if what == "once" and not Path(self.job.folder, "died").exists():
            Path(self.job.folder, "died").touch()
            os._exit(1)
        return number**2


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one processor each, at `RAY_ADDRESS`."""
    for module in (__name__, "several_pieces"):
        ray.cloudpickle.register_pickle_by_value(sys.modules[module])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(AUTHENTICATION, "disabled")
        started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        started.add_node(num_cpus=1)
        patch.setenv(ADDRESS, started.address)
        yield started
        started.shutdown()


def pieces(*what):
    return [Piece(str(i), f"squaring {i}", (i, each)) for i, each in enumerate(what)]


def test_pieces_are_shared_out_and_a_worker_that_dies_is_replaced(cluster, tmp_path, monkeypatch):
    said, engine = [], OnRay()
    with engine:
        assert engine.workers == 2
        done = list(engine.each(Squares(str(tmp_path)), iter(pieces("", "once", "refuse", "", "")), said.append))
        results = {each.piece.key: each.result for each in done}
        assert engine.processors == {processor()}
        assert results == {"0": 0, "1": 1, "2": None, "3": 9, "4": 16}
        (refused,) = [each.error for each in done if each.error]
        assert (type(refused), str(refused)) == (TrainingError, "it stopped short")
        (line,) = said
        assert "another one does it again: squaring 1" in line
        (short,) = engine.each(Squares(str(tmp_path)), pieces("memory"), said.append)
        assert isinstance(short.error, MemoryError)  # the driver takes smaller batches
        with pytest.raises(EngineError, match=r"squaring 0, tried once\. .*ZeroDivisionError: of the model's own"):
            list(engine.each(Squares(str(tmp_path)), pieces("bug"), said.append))
        monkeypatch.setattr(on_ray, "ATTEMPTS", 2)
        with pytest.raises(EngineError, match=r"squaring 0, tried 2 times"):
            list(engine.each(Squares(str(tmp_path)), pieces("always"), said.append))
        other = Squares(str(tmp_path), worker_fingerprint=Fingerprint("other", (1.0,)))
        with pytest.raises(EngineError, match="has another model or other data than this process"):
            list(engine.each(other, pieces(""), said.append))
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 3}, r"3 workers of 1 threads each were asked for; .* 2 processors .* Give --workers 2\."),
        ({"threads": 5}, r"A worker has 5 threads; the cluster has 2 processors and 0 GPUs, too few for one\."),
        ({"gpus_per_worker": 1}, "A worker has 1 threads and 1 GPUs; the cluster has 2 processors and 0 GPUs, too few"),
    ],
)
def test_more_than_the_cluster_has_is_refused(cluster, options, message):
    with pytest.raises(EngineError, match=message), OnRay(**options):
        pass
    assert not ray.is_initialized()


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """A run from a file, in folders of its own."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copy(HERE.parent / "tiny.py", folder)
    (folder / "mine.py").write_text(STUDY, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
        exhibits = exhibits_for(f"{folder / 'mine.py'}:study", None, None, None, {}, {})
        return precompute(exhibits, ["own"], folder / "here", progress=False)[0], f"{folder / 'mine.py'}:study"


class Told(OnRay):
    """Keeps what went wrong."""

    def __init__(self, **options):
        super().__init__(**options)
        self.said = []

    def each(self, job, pieces, say):
        return super().each(job, pieces, self.said.append)


def kill_a_worker():
    next(each for each in psutil.process_iter(["name"]) if each.info["name"].startswith("ray::Actor")).kill()


def test_validation_on_workers_gives_the_same_bytes(cluster, computed, tmp_path, monkeypatch):
    """One of them is killed in the midst."""
    run, function = computed
    monkeypatch.setattr(leave_one_out, "EXAMPLES_LEFT_OUT", 12)
    monkeypatch.setattr(strongest, "QUERIES", 3)
    there = Run.open(shutil.copytree(run.path, tmp_path / "there"))
    checks = ["leave-one-out", "strongest", "noise"]
    alone = validate(run, checks=checks, budget=600, function=function, progress=False)
    kept, keep = [], Bench.keep

    def keep_and_kill(self, *arguments):
        keep(self, *arguments)
        kept.append(1)
        if len(kept) == 8:
            kill_a_worker()

    monkeypatch.setattr(Bench, "keep", keep_and_kill)
    engine = Told(workers=2)
    shared = validate(there, checks=checks, budget=600, function=function, engine=engine, progress=False)
    assert len(kept) > 20
    assert ["A worker died" in line for line in engine.said] == [True]
    for name in [*checks, "summary"]:
        table = alone.validation(name)
        assert len(table)
        pd.testing.assert_frame_equal(shared.validation(name), table, check_exact=True)
    ids = {stage: int(run.examples(stage)["id"].iloc[5]) for stage in run.stages}
    edits = [
        Alteration(LEAVE_OUT, "pretrain", ids["pretrain"]),
        Alteration(RELABEL, "finetune", ids["finetune"], "eel"),
    ]
    (one, _), (other, _) = (
        what_if(each, edits, really=True, function=function, engine=who, progress=False)
        for each, who in ((run, "here"), (there, OnRay(workers=1)))
    )
    assert np.isfinite(one.validation("what-if")["measured"][0]).all()
    pd.testing.assert_frame_equal(other.validation("what-if"), one.validation("what-if"), check_exact=True)


def test_runs_on_workers_are_the_same_to_the_last_byte(cluster, tmp_path, monkeypatch, quick_map):
    """Of a study that is sent, while a worker is killed; of one in a file, which workers make, the strongest scores."""
    (alone,) = precompute([large_exhibit()], ["one"], tmp_path / "alone", progress=False)
    mark, shared_out = Pieces._mark, []

    def mark_and_kill(self, part, result):
        mark(self, part, result)
        shared_out.append(part.step)
        if part.step.startswith("scores pretrain ekfac") and sum("scores" in step for step in shared_out) == 1:
            kill_a_worker()

    engine = Told(workers=2)
    with monkeypatch.context() as patch:
        patch.setattr(Pieces, "_mark", mark_and_kill)
        (sent,) = precompute([large_exhibit()], ["one"], tmp_path / "sent", progress=False, engine=engine)
    assert ["A worker died" in line for line in engine.said] == [True]
    assert computed_files(sent) == computed_files(alone)
    assert sent.manifest.versions["workers"] == f"2 ({alone.manifest.versions['processor']})"
    assert "workers" not in alone.manifest.versions
    shutil.copy(HERE.parent / "several_pieces.py", tmp_path)
    study = tmp_path / "mine.py"
    study.write_text("from several_pieces import large_exhibit as study\n", encoding="utf-8")
    exhibits = exhibits_for(f"{study}:study", None, None, None, {}, {})
    strongest_alone, strongest_made = (
        precompute(exhibits, ["one"], tmp_path / who, progress=False, engine=who, keep="strongest:15")[0]
        for who in ("here", "ray")
    )
    assert computed_files(strongest_made) == computed_files(strongest_alone)
    assert strongest_made.kept("pretrain", "ekfac")
