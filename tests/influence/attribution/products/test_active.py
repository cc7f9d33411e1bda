"""Leaving out what no example has anything in changes no product."""

from __future__ import annotations

import pytest
import torch
from minima import loss
from torch import nn
from torch.utils.data import TensorDataset

import influence.attribution.products.forms as forms
from influence import Stage, Study
from influence.attribution.products.active import (
    MIN_VECTORS,
    entry_count,
    masked_factors,
    masked_vectors,
    nonzero_masks,
)
from influence.attribution.products.dots import Dots
from influence.attribution.products.forms import uncompressed
from influence.attribution.products.low_rank import low_rank
from influence.derivatives.first.factors import Dense, Outer, TableRows
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.objective import objectives_of

COUNT, SIDES = 20, (6, 10)


def factor(positions: int, seed: int, idle: bool = True) -> Outer:
    """Nothing comes back to the first two of six outputs, nor does anything go into the last three of ten inputs."""
    g = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(COUNT, 1, positions, side, generator=g, dtype=torch.float64) for side in SIDES)
    if idle:
        left[..., :2], right[..., 7:] = 0, 0
    return Outer(left, right)


def random_vectors() -> torch.Tensor:
    g = torch.Generator().manual_seed(9)
    return torch.randn(MIN_VECTORS, SIDES[0] * SIDES[1], generator=g, dtype=torch.float64)


@pytest.mark.parametrize("positions", [1, 5])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_products_are_those_with_everything(positions, elsewhere):
    vectors, asked = random_vectors(), factor(positions, 1)
    places = nonzero_masks(vectors, [factor(positions, 0)])
    assert entry_count(places) == masked_vectors(vectors, places).shape[1] == 4 * 7
    if elsewhere:  # in one example
        asked.left[3, ..., 1], asked.right[3, ..., 8] = 2.0, 3.0
    (cut,), met = masked_factors([asked], places)
    assert (met is places) is not elsewhere
    torch.testing.assert_close(cut.gradients() @ masked_vectors(vectors, met).T, asked.gradients() @ vectors.T)
    extra = 7 + 4 + 1  # the new output with all inputs, the new input with all outputs
    assert cut.shape[1] == 4 * 7 + (extra if elsewhere else 0)


def test_vectors_of_another_form_give_way_where_a_batch_has_something_elsewhere():
    vectors, rows = {"weight": random_vectors()}, torch.tensor([5, 2, 9])
    family = uncompressed(vectors, {"weight": [factor(1, 0)]})
    (group,) = family.groups
    group.queries, thin = rows, low_rank(group.vectors["weight"][rows].unflatten(1, (4, 7)), 4)
    group.vectors = {"weight": thin}
    for value in (0.0, 3.0):
        asked = factor(1, 1)
        asked.right[3, ..., 8] = value
        queries, found = family.dots({"weight": [asked]}, COUNT)
        assert queries.tolist() == rows.tolist()
        torch.testing.assert_close(found, asked.gradients() @ vectors["weight"][rows].T)


def test_formed_gradients_and_forms_that_change():
    vectors = random_vectors()
    places = nonzero_masks(vectors, [Dense(factor(3, 0).gradients())])
    other = factor(1, 1)
    for several in ([Dense(other.gradients())], [other], [other, factor(3, 2)]):
        left, met = masked_factors(several, places)
        scores = sum(each.gradients() for each in left) @ masked_vectors(vectors, met).T
        torch.testing.assert_close(scores, sum(each.gradients() for each in several) @ vectors.T)


def test_not_where_it_does_not_pay():
    few, every = factor(1, 0), factor(1, 0, idle=False)
    assert nonzero_masks(random_vectors()[: MIN_VECTORS - 1], [few]) == ()
    assert nonzero_masks(random_vectors(), [every]) == ()
    assert nonzero_masks(random_vectors(), [few, few]) == ()
    assert (
        nonzero_masks(
            random_vectors(), [TableRows(torch.zeros(COUNT, 1, dtype=torch.long), torch.ones(COUNT, 1, 10), 6)]
        )
        == ()
    )
    assert len(nonzero_masks(random_vectors(), [few])) == 2


class Idle(nn.Module):
    """With units and inputs that do nothing, but for one example."""

    def __init__(self):
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(2, 6, 2), nn.Linear(54, 8), nn.Linear(8, 3)
        with torch.no_grad():
            self.conv.bias[:3] = -50
            self.first.bias[:5] = -50

    def forward(self, x):
        return self.second(torch.relu(self.first(torch.relu(self.conv(x)).flatten(1))))


@pytest.fixture
def objective():
    torch.manual_seed(0)
    x, y = torch.randn(600, 2, 4, 4), torch.randint(3, (600,))
    x[:, 1] = 0
    x[411, 1] = 40.0  # no example that is looked at first
    model = Idle()
    model.conv.weight.data[0] = 1.0  # its unit is awake for that one
    data = TensorDataset(x, y)
    (objective,) = objectives_of(Study("idle", [Stage("idle", model, loss, data)], data))
    objective.batch_size = 64
    return objective


def scored(objective, vectors, start=0):
    every = Dots(objective, objective.stage.data, objective.trained, vectors)
    return torch.cat([block for _, block in every.batches(start)])


def test_a_pass_over_a_network_with_idle_units(objective, monkeypatch):
    monkeypatch.setattr("influence.attribution.products.dots.MIN_EXAMPLES", 500)
    left = []
    monkeypatch.setattr(forms, "masked_factors", lambda *given: left.append(masked_factors(*given)) or left[-1])
    data, layout = objective.stage.data, objective.trained
    vectors = torch.randn(MIN_VECTORS + 3, layout.size)
    gradients = torch.cat([rows for _, rows in example_gradients(objective, data, layout)])
    found = scored(objective, vectors)
    torch.testing.assert_close(found, gradients @ vectors.T, rtol=1e-4, atol=1e-3)
    few = {3 * 4, 3, 3 * 27, 3 * 3}  # the convolution, biases, the first and the second linear layer
    with_the_one = {4 * 8, 4, 3 * 36}
    assert {several[0].shape[1] for several, _ in left} == few | with_the_one
    assert torch.equal(scored(objective, vectors, 128), found[128:])  # a pass that is taken up again: equal bits
