"""How many examples a large network's batch gets."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

import influence.derivatives.batch_size as batch_size
from influence import Stage, Study
from influence.derivatives.batch_size import widen
from influence.derivatives.objective import objectives_of


def loss(outputs, batch):
    return cross_entropy(outputs, batch[1], reduction="none")


def objective_of(model: nn.Module, shape: tuple[int, ...], asked: int | None = None):
    data = TensorDataset(torch.randn(70, *shape), torch.arange(70) % 3)
    (found,) = objectives_of(Study("one", [Stage("stage", model, loss, data)], data), batch_size=asked)
    return found


def wide() -> nn.Module:
    return nn.Sequential(nn.Linear(1500, 1500), nn.ReLU(), nn.Linear(1500, 1500), nn.ReLU(), nn.Linear(1500, 3))


def test_a_large_network_of_few_activations_gets_the_largest_batch():
    objective = objective_of(wide(), (1500,))
    assert objective.batch_size < 32
    widen([objective])
    widest = 2 * 2**28 // (4 * 1500**2)
    assert objective.batch_size == min(batch_size.LARGE_BATCH, widest)


def test_activations_are_counted_once_and_parameters_not():
    kept = batch_size._activations(objective_of(wide(), (1500,)))
    assert kept == pytest.approx(4 * (3 * 1500 + 3), rel=0.01)  # three layers' inputs, and the log-probabilities


def test_a_network_of_many_activations_keeps_the_usual_size(monkeypatch):
    objective = objective_of(wide(), (1500,))
    before = objective.batch_size
    monkeypatch.setattr(batch_size, "_activations", lambda _: 2**28)
    widen([objective])
    assert objective.batch_size == before


def test_a_size_that_was_asked_for_stays():
    objective = objective_of(wide(), (1500,), asked=3)
    widen([objective])
    assert objective.batch_size == 3


def test_small_networks_are_not_looked_at():
    objective = objective_of(nn.Linear(4, 3), (4,))
    before = objective.batch_size
    objective.losses = None
    widen([objective])
    assert objective.batch_size == before


def test_a_model_that_fails_keeps_the_usual_size_and_fails_where_it_is_told():
    objective = objective_of(wide(), (7,))
    before = objective.batch_size
    widen([objective])
    assert objective.batch_size == before
