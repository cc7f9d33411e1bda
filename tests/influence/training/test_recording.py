"""Recorded training against a plain PyTorch loop, and what a recording promises: repeatable, weighted, apart."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from loops import ADAM, SGD, loop, rate, stage_named, three_stages, two_stages

from influence.errors import TrainingError
from influence.training.recipe import Recipe
from influence.training.recording import record, retrain

WEIGHTS = torch.linspace(0, 2, 15, dtype=torch.float64)


def assert_trained_alike(parameters, model):
    for name, value in model.named_parameters():
        torch.testing.assert_close(parameters[name], value.detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("recipe", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize(
    "settings", [{"frozen": ["first.*"]}, {"proximity": 0.3}, {"inherits": {"second.weight": "first.weight"}}]
)
def test_a_recording_is_what_a_plain_loop_trains(recipe, settings):
    before, stage = two_stages(**settings)
    recording = record(stage, before, recipe, weights=WEIGHTS)
    assert_trained_alike(recording.parameters, loop(stage, before.model, recipe, WEIGHTS))


def test_adam_is_that_of_torch_where_eps_does_not_matter():
    stage = stage_named("alone", 20, 3, 0)
    recipe = dataclasses.replace(ADAM, eps_root=1e-30, batch_size=20)
    recording = record(stage, None, recipe)
    x, y = stage.data.tensors
    model = stage_named("alone", 20, 3, 0).model
    adam = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, betas=recipe.betas, eps=1e-15)
    for _ in range(recipe.steps):
        adam.zero_grad()
        stage.loss(model(x), [x, y]).mean().backward()
        adam.step()
    for name, value in model.named_parameters():
        torch.testing.assert_close(recording.parameters[name], value.detach(), rtol=1e-6, atol=1e-9)


def test_the_learning_rate_rises_and_falls_linearly():
    recipe = Recipe(steps=10, batch_size=1, learning_rate=0.6, warmup=3, decay=True)
    assert [recipe.rate(step) for step in (0, 1, 2, 3)] == pytest.approx([0.2, 0.4, 0.6, 0.6])
    assert recipe.rate(9) == pytest.approx(0.6 / 7)
    assert [recipe.rate(step) for step in range(10)] == pytest.approx([rate(recipe, step) for step in range(10)])


def test_every_epoch_sees_every_example_once():
    order = Recipe(steps=9, batch_size=4, learning_rate=1).order(12).flatten()
    for epoch in order.view(3, 12):
        assert sorted(epoch.tolist()) == list(range(12))
    assert not torch.equal(order[:12], order[12:24])


def test_the_same_recipe_gives_the_same_bits_and_another_seed_does_not():
    first, again = (record(stage_named("alone", 20, 3, 0), None, SGD) for _ in range(2))
    other = record(stage_named("alone", 20, 3, 0), None, dataclasses.replace(SGD, seed=5))
    for name, value in first.parameters.items():
        assert torch.equal(value, again.parameters[name])
        assert not torch.equal(value, other.parameters[name])


def test_weight_zero_is_leaving_out():
    """An example of weight 0 may be anything at all."""
    stage, other = stage_named("alone", 20, 3, 0), stage_named("alone", 20, 3, 0)
    other.data.tensors[0][4] += 100
    weights = torch.ones(20)
    weights[4] = 0
    kept, changed = (record(each, None, SGD, weights=weights) for each in (stage, other))
    for name, value in kept.parameters.items():
        torch.testing.assert_close(value, changed.parameters[name])
    assert not torch.equal(kept.parameters["head.bias"], record(stage, None, SGD).parameters["head.bias"])


def test_the_model_changes_only_when_asked():
    stage = stage_named("alone", 20, 3, 0)
    before = {n: p.detach().clone() for n, p in stage.model.named_parameters()}
    recording = record(stage, None, SGD)
    assert all(torch.equal(p, before[n]) for n, p in stage.model.named_parameters())
    recording.apply()
    assert all(torch.equal(p, recording.parameters[n]) for n, p in stage.model.named_parameters())
    assert all(torch.equal(recording.start[n], value) for n, value in before.items())


def test_checkpoints_are_about_the_root_of_the_steps():
    recording = record(stage_named("alone", 20, 3, 0), None, dataclasses.replace(SGD, steps=100))
    assert sorted(recording.checkpoints) == list(range(0, 101, 10))
    assert sorted(record(stage_named("alone", 20, 3, 0), None, dataclasses.replace(SGD, steps=10)).checkpoints) == [
        0,
        4,
        8,
        10,
    ]


def test_a_chain_is_retrained_from_the_same_starts_with_other_weights():
    stages = three_stages()
    first = record(stages[0], None, SGD)
    middle = record(stages[1], first, ADAM)
    last = record(stages[2], middle, SGD)
    weights = torch.linspace(0, 2, 16, dtype=torch.float64)
    again = retrain([first, middle, last], {"middle": weights})
    assert again[0] is first
    model = loop(stages[1], loop(stages[0], None, SGD), ADAM, weights)
    assert_trained_alike(again[1].parameters, model)
    assert_trained_alike(again[2].parameters, loop(stages[2], model, SGD))
    with pytest.raises(TrainingError, match="no recording of the stage 'other'"):
        retrain([first], {"other": weights})


def test_progress_is_reported_up_to_the_end():
    seen = []
    record(stage_named("alone", 20, 3, 0), None, SGD, report=seen.append)
    assert seen == pytest.approx([step / 25 for step in range(1, 26)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimiser": "lion"}, "no optimiser 'lion'; choose one of sgd, adam"),
        ({"steps": 0}, "steps is 0, expected at least 1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, expected a finite number above 0"),
        ({"eps_root": 0.0}, "eps_root is 0.0"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"betas": (0.9, 1.0)}, "betas are"),
        ({"warmup": 26}, "warmup is 26, expected 0 to the 25 steps"),
    ],
)
def test_a_recipe_out_of_range_is_refused(change, message):
    with pytest.raises(TrainingError, match=message):
        dataclasses.replace(SGD, **change)


def test_what_cannot_be_trained_is_named():
    stage = stage_named("alone", 20, 3, 0)
    with pytest.raises(TrainingError, match="batch_size is 21, but there are only 20 examples"):
        record(stage, None, dataclasses.replace(SGD, batch_size=21))
    with pytest.raises(TrainingError, match=r"weights have shape \(3,\), expected \(20,\)"):
        record(stage, None, SGD, weights=torch.ones(3))
    stage.data.tensors[0][3] = float("nan")
    with pytest.raises(TrainingError, match="'alone': the training was not finite any more after 5 steps"):
        record(stage, None, SGD)


def test_examples_of_like_length_share_a_batch_and_every_epoch_has_all():
    lengths = torch.randint(1, 60, (1000,), generator=torch.Generator().manual_seed(0))
    recipe = Recipe(steps=250, batch_size=8, learning_rate=0.1, seed=1)
    plain, alike = recipe.order(1000), recipe.order(1000, lengths)
    for half in (slice(0, 125), slice(125, 250)):
        assert sorted(plain[half].flatten().tolist()) == list(range(1000))
    assert sorted(alike.flatten().tolist()) == sorted([*range(1000), *range(1000)])
    spread = [float((lengths[o].amax(1) - lengths[o].amin(1)).float().mean()) for o in (plain, alike)]
    assert spread[1] < spread[0] / 5
    assert not torch.equal(lengths[alike].amax(1), lengths[alike].amax(1).sort().values), "batches are shuffled again"
    torch.testing.assert_close(alike, recipe.order(1000, lengths))
