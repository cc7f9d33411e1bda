"""The estimate of the error of the scores against the true one, by `exact` in double precision."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from minima import loss
from torch import nn
from torch.utils.data import TensorDataset

from influence import Scores, Stage, Study, attribute
from influence.curvature import iterative
from influence.run.records import ORDER_ONLY

EXAMPLES, QUERIES, L2 = 60, 4, 1e-2


def study_of(top: float, seed: int, dtype: torch.dtype, curvature: str = "ggn") -> Study:
    """Features on scales from 1 to `top`, on a model that looks at all of them alike."""
    torch.manual_seed(seed)
    scales = torch.logspace(0, float(np.log10(top)), 4, dtype=torch.float64)[torch.randperm(4)]
    plain = torch.randn(EXAMPLES + QUERIES, 4, dtype=torch.float64) + torch.randn(4, dtype=torch.float64)
    labels = plain[:, :3].argmax(1)
    head = nn.Linear(4, 3).double()
    with torch.no_grad():
        head.weight.div_(scales)
    # The Hessian of a second layer would be negative: no minimum is sought here.
    model = head if curvature == "hessian" else nn.Sequential(head, nn.Tanh(), nn.Linear(3, 3)).double()
    inputs = (plain * scales).float()
    model, inputs = copy.deepcopy(model).float().to(dtype), inputs.to(dtype)
    training, queries = (
        TensorDataset(inputs[:EXAMPLES], labels[:EXAMPLES]),
        TensorDataset(inputs[EXAMPLES:], labels[EXAMPLES:]),
    )
    return Study("scales", [Stage("only", model, loss, training, l2=L2)], queries)


def solved(study: Study, method: str, curvature: str, **options) -> Scores:
    return attribute(study, method=method, curvature=curvature, progress=False, **options)


def errors(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    return np.linalg.norm(found - true, axis=1) / np.linalg.norm(true, axis=1)


def told(report, what: str = "warnings") -> list[str]:
    """The warnings of solves: these stages stand at no minimum, which is warned of too."""
    return [warning for warning in report[what] if "not converged at stage 'only'" in warning]


@pytest.mark.parametrize("dense", [True, False], ids=["solved directly", "solved by cg"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("curvature", ["ggn", "hessian"])
@pytest.mark.parametrize("top", [1.0, 100.0, 1e5])
def test_the_estimate_is_the_error_and_warnings_follow_it(monkeypatch, top, curvature, dtype, dense):
    if not dense:
        monkeypatch.setattr(iterative, "MAX_DENSE_STAGE", 0)
    seed = int(np.log10(top))
    exact = attribute(
        study_of(top, seed, torch.float64, curvature), method="exact", curvature=curvature, progress=False
    )
    for method, options in (
        ("cg", {}),
        ("cg", {"tolerance": 0.1}),
        ("cg", {"iterations": 2}),
        ("arnoldi", {}),
        ("arnoldi", {"iterations": 4}),
        ("lissa", {"depth": 30}),
    ):
        study = study_of(top, seed, dtype, curvature)
        found = solved(study, method, curvature, **options)
        true, estimate = errors(found.values, exact.values), np.array(found.report["stages"][0]["score_error"])
        case = f"{method} {options}: true {true}, estimate {estimate}"
        assert len(estimate) == QUERIES
        assert (estimate > true / 3 - 2e-3).all(), case
        if true.max() > 0.05:
            assert told(found.report), case
            assert 1 / 3 < estimate.max() / true.max() < 3, case
            assert bool(told(found.report, "order_only")) == (estimate.max() > 1)
        if true.max() < 1e-3:
            assert not told(found.report), case


class NoRule(nn.Module):
    """A linear layer that is written so that no layer rule holds: its Gauss-Newton matrix has no rows at hand."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.weight, self.bias = nn.Parameter(layer.weight.detach()), nn.Parameter(layer.bias.detach())

    def forward(self, x):
        return torch.einsum("bi,oi->bo", x, self.weight) + self.bias


@pytest.mark.parametrize("method", ["exact", "cg", "arnoldi"])
@pytest.mark.parametrize("curvature", ["ggn", "hessian"])
def test_products_are_taken_in_double_precision_where_rounding_hides_small_eigenvalues(method, curvature):
    exact = solved(study_of(1e5, 1, torch.float64, "hessian"), "exact", "ggn")
    study = study_of(1e5, 1, torch.float32, "hessian")
    (given,) = study.stages
    stage = Stage("only", NoRule(given.model), loss, given.data, l2=L2)
    found = solved(Study("no rule", [stage], study.queries), method, curvature)
    assert found.report["without_rule"]
    assert errors(found.values, exact.values).max() < 0.01
    assert not told(found.report)


@pytest.mark.parametrize("curvature", ["ggn", "hessian"])
@pytest.mark.parametrize("seed", range(2))
def test_raw_scales_are_solved_in_single_precision(seed, curvature):
    """Rounding beside an eigenvalue of 1e9 once made a cross-entropy "not convex", and lost the small eigenvalues."""
    exact = attribute(
        study_of(1e5, seed, torch.float64, curvature), method="exact", curvature=curvature, progress=False
    )
    for method in ("cg", "arnoldi"):
        found = attribute(
            study_of(1e5, seed, torch.float32, curvature), method=method, curvature=curvature, progress=False
        )
        assert errors(found.values, exact.values).max() < 0.01
        assert not told(found.report)


def test_a_solve_that_ends_far_from_the_solution_has_no_unit():
    study = study_of(1e5, 0, torch.float64)
    found = attribute(study, method="arnoldi", iterations=3, progress=False)
    (warning,) = told(found.report)
    assert "their size means nothing; raise `iterations` or `damping`" in warning
    assert found.report["unit"] == ORDER_ONLY


def test_direct_methods_estimate_nothing():
    report = attribute(study_of(1e5, 0, torch.float64), method="exact", progress=False).report
    assert "score_error" not in report["stages"][0]
