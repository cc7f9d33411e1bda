"""Scores by EK-FAC of the wrong size are told, and those of the right size are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import Stage, Study, attribute

QUERIES = 20


def loss(outputs, batch):
    return cross_entropy(outputs, batch[1], reduction="none")


def digits_study(count, l2, steps):
    """A network of one hidden layer, trained by so many steps of L-BFGS."""
    torch.manual_seed(0)
    digits = load_digits()
    x, y = torch.tensor(digits.images, dtype=torch.float32).flatten(1) / 16, torch.tensor(digits.target)
    model = nn.Sequential(nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, 10))
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def objective():
        optimiser.zero_grad()
        value = cross_entropy(model(x[:count]), y[:count])
        value = value + l2 / 2 * sum(parameter.square().sum() for parameter in model.parameters())
        value.backward()
        return value

    if steps:
        optimiser.step(objective)
    stage = Stage("one", model, loss, TensorDataset(x[:count], y[:count]), l2=l2)
    return Study("digits", [stage], TensorDataset(x[-QUERIES:], y[-QUERIES:]))


def saturated_study():
    """Predictions of which nearly all are sure, most of them wrong: few examples have any curvature."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))
    model[2].weight.data.mul_(40)
    x, y = torch.randn(12, 6), torch.randint(3, (12,))
    return Study("few", [Stage("one", model, loss, TensorDataset(x, y), l2=1e-2)], TensorDataset(x, y))


def sizes(study):
    """The size of scores by blocks beside that of exact ones, and the report of the former."""
    exact = attribute(study, method="exact", progress=False)
    found = attribute(study, method="ekfac", small=0, progress=False)
    return np.linalg.norm(found.values) / np.linalg.norm(exact.values), found.report


def told(report):
    return [warning for warning in report["warnings"] if "times too" in warning]


@pytest.mark.parametrize(("count", "l2"), [(100, 1e-3), (300, 2e-3)])  # all examples are read; disjoint parts of them
def test_scores_that_are_too_large_are_told_and_lose_their_unit(count, l2):
    times, report = sizes(digits_study(count, l2, steps=150))
    assert times > 3
    (warning,) = told(report)
    assert "times too large" in warning
    assert warning in report["order_only"]
    assert report["unit"] == "order only"


def test_scores_that_are_too_small_are_told_and_lose_their_unit():
    times, report = sizes(saturated_study())
    assert times < 1 / 3
    (warning,) = told(report)
    assert "times too small" in warning
    assert report["unit"] == "order only"


@pytest.mark.parametrize(("count", "l2"), [(20, 1e-2), (100, 1e-3), (300, 1e-2)])
def test_scores_of_about_the_right_size_are_not_told(count, l2):
    times, report = sizes(digits_study(count, l2=l2, steps=0))
    assert 1 / 3 < times < 3
    assert told(report) == []
