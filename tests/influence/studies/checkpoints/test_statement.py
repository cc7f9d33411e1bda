"""l2 and proximity that nobody stated, against those that a reference optimiser trained with."""

from __future__ import annotations

import copy

import pytest
import torch
from minima import Net, data, loss, minimise
from torch.func import functional_call

from influence import Stage
from influence.errors import StudyError
from influence.studies.checkpoints.statement import statement

BODY = ["first.weight", "first.bias", "second.weight", "second.bias"]


def stages(**terms):
    """Pretraining and an updated finetuning, each at a minimum."""
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = Net(3), Net(2)
    before = Stage("pretrain", first, loss, data(30, 3, 3, draw), l2=terms["l2"])
    after = Stage("finetune", second, loss, data(24, 3, 2, draw), inherits={name: name for name in BODY}, **terms)
    minimise(before, {})
    minimise(after, {name: value.detach().clone() for name, value in first.named_parameters() if name in BODY})
    for stage in (before, after):
        stage.l2, stage.proximity = 0.0, 0.0
    return [before, after]


@pytest.fixture(scope="module")
def decayed():
    return stages(l2={"*.bias": 0.004, "*": 0.03}, proximity=0.05)


def test_terms_of_a_minimum_are_found(decayed):
    found = statement(decayed)
    for stage in found.stages:
        l2 = {name: next(v for p, v in stage.l2.items() if p in (name, "*")) for name in BODY}
        assert [l2[n] for n in BODY] == pytest.approx([0.03, 0.004] * 2, rel=0.01)
    assert found.stages[1].proximity == pytest.approx(0.05, rel=0.01)
    assert (found.damping, decayed[0].l2) == (None, 0.0)
    notes = " ".join(found.notes)
    assert "0.03 of weights and 0.004 of biases and norms" in notes
    assert "Proximity 0.05 is taken, estimated from the gradient" in notes


def test_what_is_said_is_taken(decayed):
    found = statement(decayed, l2={"*.bias": 0.004, "*": 0.03}, proximity=0.05)
    assert [(s.l2["*"], s.proximity) for s in found.stages] == [(0.03, 0.0), (0.03, 0.05)]
    norms = [float(note.partition("norm ")[2].split()[0]) for note in found.notes]
    assert max(norms) < 1e-6
    assert "estimated" not in " ".join(found.notes)
    with pytest.raises(StudyError, match="l2"):
        statement(decayed, l2={"nothing.*": 1.0})


def test_gradients_by_group(decayed):
    stage = decayed[0]
    stage.model.zero_grad()
    x, y = stage.data.tensors
    torch.nn.functional.cross_entropy(stage.model(x), y).backward()
    grads = {n: p.grad for n, p in stage.model.named_parameters()}
    weights, biases = (torch.cat([g.flatten() for g in grads.values() if g.dim() == dims]).norm() for dims in (2, 1))
    note = statement(decayed[:1]).notes[0]
    assert f"({weights:.2g} of weights and {biases:.2g} of biases and norms)" in note


def test_no_proximity_is_warned_of(decayed):
    assert "no influence reaches the stage before" in " ".join(statement(decayed, proximity=0.0).notes)


def descended(stage, before, steps, size):
    """Gradient descent on the mean loss from the inherited values, stopped early."""
    model = copy.deepcopy(stage.model)
    values = {n: p.detach() for n, p in model.named_parameters()} | {n: before[n].detach() for n in BODY}
    x, y = stage.data.tensors
    for _ in range(steps):
        slopes = torch.func.grad(lambda v: torch.nn.functional.cross_entropy(functional_call(model, v, (x,)), y))(
            values
        )
        values = {n: v - size * slopes[n] if n in BODY else v for n, v in values.items()}
    model.load_state_dict(values)
    return Stage("finetune", model, loss, stage.data, inherits={name: name for name in BODY})


def test_early_stopping_is_stated_as_the_proximity_that_holds_as_it_does(decayed):
    before, after = decayed
    early = descended(after, dict(before.model.named_parameters()), steps=20, size=0.01)
    found = statement([before, early], l2=0.0)
    assert 2 * found.stages[1].proximity == pytest.approx(1 / (20 * 0.01), rel=0.1)


def test_proximity_where_the_gradient_does_not_tell(decayed):
    """As after mini-batches: the gradient is noise. What the way lowered the loss by still tells."""
    before, after = decayed
    origin = dict(before.model.named_parameters())
    long = descended(after, origin, steps=200, size=1.0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in long.model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=draw)
    there = copy.deepcopy(long.model)
    there.load_state_dict({n: origin[n] if n in BODY else v for n, v in long.model.state_dict().items()})
    x, y = after.data.tensors
    with torch.no_grad():
        fall = torch.nn.functional.cross_entropy(there(x), y) - torch.nn.functional.cross_entropy(long.model(x), y)
        way = sum((long.model.state_dict()[n] - origin[n]).square().sum() for n in BODY)
    found = statement([before, long], l2=0.0)
    assert found.stages[1].proximity == pytest.approx(float(fall / (2 * way)), rel=0.01)
    assert "lowered its loss" in " ".join(found.notes)


def test_damping_where_nothing_explains_the_gradient(decayed):
    before, _ = decayed
    anywhere = Stage("pretrain", Net(3), loss, before.data)
    found = statement([anywhere])
    assert found.stages[0].l2 == 0.0
    assert found.damping > 0
    assert "none is taken" in " ".join(found.notes)
