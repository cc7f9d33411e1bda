"""An l2 term of some parameters more than of others: closed forms, and trainings that know nothing of the library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from minima import Net, close, data, loss, minimise_chain
from torch import nn
from torch.utils.data import TensorDataset

from influence import Stage, Study, attribute
from influence.curvature.cards import CARDS
from influence.training.minimum import fit_stage

WEIGHTS_ONLY = {"*weight": 0.3}


def squares(outputs, batch):
    return (outputs[:, 0] - batch[1]).square() / 2


def outputs_of(outputs, batch):
    return outputs[:, 0]


def ridge_study(l2) -> tuple[Study, np.ndarray]:
    """A linear regression with a bias, and the derivative of its closed form by each example's weight."""
    g = torch.Generator().manual_seed(0)
    x, y, asked = (torch.randn(*size, generator=g, dtype=torch.float64) for size in ((30, 4), (30,), (5, 4)))
    decay = {"*weight": 4 * [0.3] + [0.0], "*": 5 * [0.3], "bias": 4 * [0.0] + [0.7]}
    diagonal = torch.tensor(decay["*" if not isinstance(l2, dict) else next(iter(l2))], dtype=torch.float64)
    rows, ends = (torch.cat([each, torch.ones(len(each), 1).double()], 1) for each in (x, asked))
    matrix = rows.T @ rows / 30 + torch.diag(diagonal)
    best = torch.linalg.solve(matrix, rows.T @ y / 30)
    model = nn.Linear(4, 1).double()
    model.weight.data, model.bias.data = best[None, :4].clone(), best[4:].clone()
    truth = ends @ torch.linalg.solve(matrix, (rows * (rows @ best - y)[:, None]).T) / 30
    queries = TensorDataset(asked, torch.zeros(5).double())
    return Study("ridge", [Stage("only", model, squares, TensorDataset(x, y), l2=l2)], queries, outputs_of), truth


@pytest.mark.parametrize("method", [card.name for card in CARDS[:-2] if card.name not in ("ekfac", "lissa")])
@pytest.mark.parametrize("l2", [0.3, WEIGHTS_ONLY, {"bias": 0.7}])
def test_ridge_regression_in_closed_form(l2, method):
    study, truth = ridge_study(l2)
    scores = attribute(study, method=method, damping=0.0, progress=False)
    close(scores.values, truth.numpy(), 1e-4)
    assert scores.report["stages"][0]["gradient_norm"] < 1e-12


def test_the_damping_that_is_picked_hardly_counts():
    study, truth = ridge_study(WEIGHTS_ONLY)
    close(attribute(study, method="exact", progress=False).values, truth.numpy(), 0.01)


def test_a_stage_is_fitted_to_the_minimum_of_its_groups():
    torch.manual_seed(0)
    stage = Stage("only", Net(3), loss, data(30, 3, 3, torch.Generator().manual_seed(0)), l2={"*.weight": 0.05})
    assert fit_stage(stage, None).converged
    (expected,) = minimise_chain([stage])  # begins where the stage stands now
    for found, there in zip(stage.model.parameters(), expected.model.parameters(), strict=True):
        torch.testing.assert_close(found, there, rtol=0, atol=1e-6)
