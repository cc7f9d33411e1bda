"""The whole objective, l2 and proximity included: its value and its gradient against autograd."""

from __future__ import annotations

import pytest
import torch
from minima import decay_of
from tiny import tiny_stages
from torch.nn import functional

from influence.derivatives.first.gradients import objective_gradient
from influence.derivatives.losses import value
from influence.derivatives.objective import objectives_of
from influence.study.parameters import size_of
from influence.study.study import Study


@pytest.mark.parametrize("l2", [0.02, {"*.bias": 0.3, "head.*": 0.1}])
@pytest.mark.parametrize("frozen", [True, False])
def test_value_and_slope_are_those_of_autograd(frozen, l2):
    stages = tiny_stages(frozen=frozen, l2=l2)
    study, before = Study("tiny", stages, stages[-1].data), {}
    for objective in objectives_of(study):
        stage, groups = objective.stage, objective.groups
        x, y = stage.data.tensors
        named = dict(stage.model.eval().named_parameters())
        trained = [named[name] for name in objective.trained.shapes]
        whole = functional.cross_entropy(stage.model(x), y)
        whole = whole + sum(decay_of(stage, n) / 2 * named[n].square().sum() for n in objective.trained.shapes)
        for name in groups.held:
            whole = whole + stage.proximity * (named[name] - before[groups.inherited[name]].detach()).square().sum()
        expected = torch.cat([g.flatten() for g in torch.autograd.grad(whole, trained)])
        assert value(objective, before) == pytest.approx(whole.item(), rel=1e-12)
        torch.testing.assert_close(objective_gradient(objective, before), expected, rtol=1e-9, atol=1e-12)
        before = named
    assert frozen or groups.held, "proximity is part of the second stage"


def test_pairs_and_sizes_of_stages():
    stages = tiny_stages(frozen=True)
    study = Study("tiny", stages, stages[-1].data)
    assert list(study.pairs()) == [(None, stages[0]), (stages[0], stages[1])]
    sizes = [size_of(stage, previous) for previous, stage in study.pairs()]
    assert [(size.trained, size.whole, size.itemsize) for size in sizes] == [(23, 23, 8), (12, 27, 8)]
