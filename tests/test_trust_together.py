"""Retrainings side by side against the same ones made one by one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import default_collate

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parent / "influence"))

from tiny import tiny_stages
from trust.together import retrain_together

from influence.errors import TrainingError
from influence.training.recipe import Recipe
from influence.training.recording import record, retrain

SGD, ADAM = Recipe(30, 8, 0.1, warmup=5), Recipe(20, 5, 0.01, optimiser="adam", decay=True)


def recorded(frozen, **changes):
    stages = tiny_stages(frozen=frozen, **changes)
    first = record(stages[0], None, SGD)
    return [first, record(stages[1], first, ADAM)]


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_side_by_side_is_as_one_by_one(frozen, stage):
    recordings, done = recorded(frozen), []
    count = len(next(r for r in recordings if r.stage.name == stage).weights)
    weights = torch.ones(5, count)
    weights[torch.arange(1, 5), torch.arange(1, 5)] = 0
    weights[4, 3] = 0.5
    many = retrain_together(recordings, stage, weights, rows=2, advance=done.append)
    assert done == [2, 2, 1]
    for row, given in enumerate(weights):
        alone = retrain(recordings, {stage: given})[-1].parameters
        assert alone.keys() == many.keys()
        for name, value in alone.items():
            torch.testing.assert_close(many[name][row], value, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(many["head.bias"][0], many["head.bias"][1], rtol=1e-9)


def test_batches_of_tensors_are_what_the_default_collate_makes():
    stage = tiny_stages()[0]
    recording = record(stage, None, SGD)
    stage.collate = default_collate
    collated = record(stage, None, SGD)
    assert all(torch.equal(recording.parameters[name], value) for name, value in collated.parameters.items())


def test_bad_input_is_named():
    recordings = recorded(True)
    with pytest.raises(TrainingError, match="no recording of the stage 'x'; they are of pretrain, finetune"):
        retrain_together(recordings, "x", torch.ones(1, 40))
    with pytest.raises(TrainingError, match=r"weights have shape \(40,\), expected \(R, 40\)"):
        retrain_together(recordings, "pretrain", torch.ones(40))


def test_what_is_not_finite_is_refused():
    recordings = recorded(True)
    with pytest.raises(TrainingError, match="'pretrain': a training was not finite after 30 steps"):
        retrain_together(recordings, "pretrain", torch.full((1, 40), torch.inf))
