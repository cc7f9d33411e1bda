"""Objectives in double precision."""

from __future__ import annotations

import torch
from minima import data, loss
from torch import nn
from torch.utils.data import TensorDataset

from influence import Stage, Study
from influence.derivatives import Objective, objectives_of
from influence.derivatives.precision import in_double, resolving
from influence.derivatives.second.products import hessian_product

EPSILON = torch.finfo(torch.float32).eps


def objective_of(**options) -> Objective:
    torch.manual_seed(0)
    inputs, labels = data(20, 3, 3, torch.Generator().manual_seed(0)).tensors
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
    stage = Stage("single", model, loss, TensorDataset(inputs.float(), labels), l2=0.1, **options)
    return objectives_of(Study("single", [stage], stage.data))[0]


def test_products_of_a_single_precision_model_are_those_of_its_double():
    objective = objective_of()
    double = in_double(objective)
    vectors = torch.randn(3, objective.trained.size, dtype=torch.float64)
    stage = objective.stage
    doubled = TensorDataset(stage.data.tensors[0].double(), stage.data.tensors[1])
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    model.load_state_dict(stage.model.state_dict())
    (expected,) = objectives_of(Study("double", [Stage("double", model, loss, doubled)], doubled))
    torch.testing.assert_close(hessian_product(double, vectors), hessian_product(expected, vectors))
    assert (hessian_product(double, vectors) - hessian_product(objective, vectors)).norm() > 1e-9
    assert {p.dtype for p in stage.model.parameters()} == {torch.float32}
    assert in_double(double) is double


def test_a_model_that_does_not_run_in_double_precision_stays_as_it_is():
    objective = objective_of(forward=lambda model, batch: model(batch[0].float()))
    assert in_double(objective) is objective


def test_double_precision_is_taken_where_rounding_hides_the_smallest_eigenvalue():
    objective = objective_of()
    assert resolving(objective, 1.0, 100 * EPSILON) is objective
    for smallest in (EPSILON, 0.0, -1.0):
        assert resolving(objective, 1.0, smallest).dtype == torch.float64


def test_warnings_met_in_double_precision_are_the_objectives():
    objective = objective_of()
    in_double(objective).remarks.warn("too flat to believe")
    assert objective.remarks.warnings == {"too flat to believe"}
