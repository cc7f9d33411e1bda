"""The dense Hessian: few products where the outputs are linear in parameters, all of them where they are not."""

from __future__ import annotations

import pytest
import torch
from minima import data
from torch import nn
from torch.distributions import Categorical
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import Stage
from influence.derivatives import Objective
from influence.derivatives.second import hessian as dense
from influence.derivatives.second.products import basis, hessian_product
from influence.study.parameters import groups_of

g = torch.Generator().manual_seed(0)


class SquaredHead(nn.Module):
    """Two linear layers; the outputs are linear in the second's bias, but not in its weight."""

    def __init__(self):
        super().__init__()
        self.features, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, rows):
        return nn.functional.linear(self.features(rows).tanh(), self.head.weight**2, self.head.bias)


def loss(outputs, batch):
    return cross_entropy(outputs, batch[1], reduction="none")


def negative(outputs, batch):
    """Not convex in the outputs, so that the Gauss-Newton matrix has no rows."""
    return -(loss(outputs, batch) ** 2)


MODELS = {
    "head": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), loss, 16),
    "linear": (lambda: nn.Linear(3, 2), loss, 0),
    "squared": (SquaredHead, loss, 24),
    "not convex": (lambda: nn.Linear(3, 2), negative, 8),
    "frozen first layer": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), loss, 0),
}


@pytest.mark.parametrize("which", MODELS)
def test_rows_that_are_formed_by_products_and_the_whole_matrix(which, monkeypatch):
    make, its_loss, products = MODELS[which]
    torch.manual_seed(0)
    model = make().double()
    frozen = ["0.*"] if which.startswith("frozen") else []
    stage = Stage("one", model, its_loss, data(20, 3, 2, g), l2=0.1, frozen=frozen)
    objective = Objective(stage, groups_of(stage, None), batch_size=7)
    formed = []
    monkeypatch.setattr(
        dense, "hessian_product", lambda o, vectors: (formed.append(len(vectors)), hessian_product(o, vectors))[1]
    )
    found = dense.hessian(objective)
    assert formed[-1] == products
    trained = [p for n, p in model.named_parameters() if n in objective.trained.shapes]
    total = its_loss(model(stage.data.tensors[0]), stage.data.tensors).mean()
    slope = torch.cat([s.flatten() for s in torch.autograd.grad(total, trained, create_graph=True)])
    expected = [
        torch.cat([r.flatten() for r in torch.autograd.grad(s, trained, retain_graph=True, materialize_grads=True)])
        for s in slope
    ]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-10, atol=1e-13)
    assert not objective.remarks.notes


def test_half_precision_cannot_tell_the_matrices_apart_so_that_every_row_is_formed():
    torch.manual_seed(0)
    model = MODELS["head"][0]().bfloat16()
    rows, labels = data(20, 3, 2, torch.Generator().manual_seed(0)).tensors
    stage = Stage("one", model, loss, TensorDataset(rows.bfloat16(), labels), l2=0.1)
    objective = Objective(stage, groups_of(stage, None))
    every = hessian_product(objective, basis(objective)).double()
    torch.testing.assert_close(dense.hessian(objective), (every + every.T) / 2, rtol=0, atol=0)


def test_outputs_that_are_no_tensors_have_a_hessian_too():
    torch.manual_seed(0)
    model, rows = MODELS["head"][0]().double(), data(20, 3, 2, torch.Generator().manual_seed(0))

    def distribution(model, batch):
        return Categorical(logits=model(batch[0]))

    def surprise(outputs, batch):
        return -outputs.log_prob(batch[1])

    of_tensors = Stage("one", model, loss, rows)
    of_others = Stage("one", model, surprise, rows, forward=distribution)
    expected, found = (dense.hessian(Objective(s, groups_of(s, None))) for s in (of_tensors, of_others))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)
