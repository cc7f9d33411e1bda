"""One query's derivative through a run's trainings, against really training again with a little less of an example."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from tiny import two_exhibits
from tiny_runs import CARD

from influence.errors import RunError, TrainingError
from influence.precompute.runs import precompute
from influence.run.measured.replayed import replayed
from influence.run.reading import Run
from influence.studies.built_in import STUDIES
from influence.studies.request import exhibits_for
from influence.validation import verification, verify
from influence.validation.bench import bench_of

STEP = 1e-3
QUERY = 902


class TinySteps:
    """The tiny study, trained by mini-batches."""

    card = dataclasses.replace(CARD, name="steps")
    variants = card.variants

    def __init__(self, seed=0):
        made = two_exhibits(seed=seed, epochs=6, method="identity")
        self.exhibits = dict(zip(self.variants, made, strict=True))

    def exhibit(self, variant):
        return self.exhibits[variant]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STUDIES, "steps", TinySteps)
        patch.setattr("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
        exhibits = exhibits_for("steps", None, None, None, {}, {})
        runs = precompute(exhibits, ["frozen", "updated"], tmp_path_factory.mktemp("runs"), progress=False)
    return dict(zip(("frozen", "updated"), (run.path for run in runs), strict=True))


@pytest.fixture
def stepped(folders, tmp_path, monkeypatch):
    monkeypatch.setitem(STUDIES, "steps", TinySteps)
    return lambda variant: Run.open(shutil.copytree(folders[variant], tmp_path / variant))


@pytest.mark.parametrize("variant", ["frozen", "updated"])
def test_the_replayed_list_is_the_derivative_of_training_again(stepped, variant):
    run = verify(stepped(variant), QUERY, progress=False)
    found = replayed(run, "pretrain", 2).scores
    retrainer = bench_of(run, "pretrain").retrainer
    assert len(found) == 40
    for example in (int(np.abs(found).argmax()), 3):
        losses = []
        for step in (STEP, -STEP):
            weights = torch.ones(40, dtype=torch.float64)
            weights[example] += step
            losses.append(retrainer.retrain({"pretrain": weights}, start="scratch").losses[2])
        assert found[example] == pytest.approx((losses[1] - losses[0]) / (2 * STEP), rel=1e-3, abs=1e-7)
    row = run.validation("verified").iloc[0]
    assert row["drift"] < 1e-9
    assert row["seconds"] > 0
    weights = retrainer.weights_without("pretrain", [row["examples"][0]])
    without, base = retrainer.retrain({"pretrain": weights}, start="scratch"), retrainer.retrain(start="scratch")
    assert row["examples"][0] == np.abs(found).argmax()
    assert row["measured"][0] == pytest.approx(without.losses[2] - base.losses[2], abs=1e-6)


def test_it_is_kept_and_said(stepped, monkeypatch):
    run = verify(stepped("updated"), QUERY, progress=False)
    monkeypatch.setattr(verification, "bench_of", None)  # nothing is computed again
    assert verify(run, QUERY, progress=False).manifest.validation == run.manifest.validation
    said = verification.sentence(run, "pretrain", 2, replayed(run, "pretrain", 2))
    assert "Really trained again: without #1" in said
    assert "rank correlation with the run's list" in said
    assert replayed(run, "pretrain", 3) is None


def _came_trained(bench):
    bench.retrainer.starts = {}
    return bench


def test_what_cannot_be_replayed_is_named(stepped, run, monkeypatch):
    with pytest.raises(RunError, match="no query with id 7"):
        verify(run, 7, progress=False)
    with pytest.raises(RunError, match="'pretrain' of run frozen was trained full batch.*`upstream leave-out`"):
        verify(run, QUERY, progress=False)
    steps = stepped("updated")
    with monkeypatch.context() as patch:
        patch.setattr(verification, "bench_of", lambda *_, **__: _came_trained(bench_of(steps, "pretrain")))
        with pytest.raises(TrainingError, match="models of run updated came trained.*`upstream leave-out`"):
            verify(steps, QUERY, progress=False)
    monkeypatch.setattr(verification, "_drift", lambda *_: 0.5)
    with pytest.raises(TrainingError, match="cannot be repeated: this one ended 50.0% of its way"):
        verify(steps, QUERY, progress=False)
    assert Run.open(steps.path).validation("verified") is None
