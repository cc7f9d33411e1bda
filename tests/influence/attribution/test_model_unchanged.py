"""A user's model is never changed, whatever becomes of the call; evaluation mode is what is scored."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tiny import tiny_loss, tiny_study
from torch import nn

from influence import Stage, Study, attribute
from influence.errors import UpstreamError


def ask(study, **options):
    return attribute(study, **{"method": "exact", "progress": False, **options})


def state(model):
    return {
        "tensors": {name: tensor.clone() for name, tensor in model.state_dict(keep_vars=True).items()},
        "identities": [id(p) for p in model.parameters()],
        "gradients": [p.grad for p in model.parameters()],
        "flags": [p.requires_grad for p in model.parameters()],
        "modes": [m.training for m in model.modules()],
        "modules": [(name, type(m), id(m)) for name, m in model.named_modules()],
        "hooks": [
            {k: list(v) for k, v in vars(m).items() if "hook" in k and isinstance(v, dict)} for m in model.modules()
        ],
    }


def assert_unchanged(model, before):
    now = state(model)
    tensors, were = now.pop("tensors"), before.pop("tensors")
    assert now == before
    assert all(torch.equal(tensors[name], were[name]) for name in were)


def touchy_study():
    """Models in training mode with dropout, batch statistics, a hook, and flags of either kind."""
    study = tiny_study(frozen=False)
    for each in study.stages:
        each.model.body = nn.Sequential(*each.model.body, nn.BatchNorm1d(3).double(), nn.Dropout(0.5))
        each.model.train()
        each.model.body[1].eval()
        each.model.head.register_forward_hook(lambda *_: None)
        each.model.head.bias.requires_grad_(False)
    stages = [
        Stage(s.name, s.model, s.loss, s.data, l2=s.l2, proximity=s.proximity, inherits=s.inherits)
        for s in study.stages
    ]
    return Study("touchy", stages, study.queries)


@pytest.mark.parametrize("method", ["exact", "cg", "identity"])
@pytest.mark.parametrize("curvature", ["ggn", "hessian"])
def test_model_is_unchanged(method, curvature):
    study = touchy_study()
    before = [state(each.model) for each in study.stages]
    first = ask(study, method=method, curvature=curvature, damping=5.0)
    again = ask(study, method=method, curvature=curvature, damping=5.0)
    for each, was in zip(study.stages, before, strict=True):
        assert_unchanged(each.model, was)
    np.testing.assert_array_equal(first.values, again.values)  # dropout is off


def failing(after):
    calls = 0

    def loss(outputs, batch):
        nonlocal calls
        calls += 1
        if calls > after:
            raise ZeroDivisionError
        return tiny_loss(outputs, batch)

    return loss


@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_model_is_unchanged_when_the_loss_raises(after):
    study = touchy_study()
    study.stages[0].loss = study.stages[1].loss = study.measure = failing(after)
    before = [state(each.model) for each in study.stages]
    fast = torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(ZeroDivisionError):
        ask(study)
    for each, was in zip(study.stages, before, strict=True):
        assert_unchanged(each.model, was)
    assert torch.backends.mha.get_fastpath_enabled() == fast


@pytest.mark.parametrize("options", [{"method": "magic"}, {"curvature": "hessian", "damping": 0.0}, {"stage": "x"}])
def test_model_is_unchanged_when_refused(options):
    study = touchy_study()
    before = [state(each.model) for each in study.stages]
    with pytest.raises(UpstreamError):
        ask(study, **options)
    for each, was in zip(study.stages, before, strict=True):
        assert_unchanged(each.model, was)


def test_evaluation_mode_is_what_is_scored():
    study = touchy_study()
    calm = copy.deepcopy(study.stages)
    for each in calm:
        each.model.eval()
    np.testing.assert_array_equal(ask(study).values, ask(Study("calm", calm, study.queries)).values)
