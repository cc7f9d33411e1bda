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
from influence.attribution.report import MEANINGLESS
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
            assert bool(told(found.report, "order_only")) == (estimate.max() > MEANINGLESS)
        if true.max() < 1e-3:
            assert not told(found.report), case


class NoRule(nn.Module):
    """A linear layer that adds in place, so that no layer rule holds: its Gauss-Newton matrix has no rows at hand."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.weight, self.bias = nn.Parameter(layer.weight.detach()), nn.Parameter(layer.bias.detach())

    def forward(self, x):
        return x.new_zeros(len(x), len(self.bias)).addmm_(x, self.weight.T).add_(self.bias)


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


def random_study(seed: int) -> Study:
    """Features on random scales over six orders of magnitude, a random number of them, of classes and of examples."""
    draw = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    width, classes, count = (int(torch.randint(a, b, (1,), generator=draw)) for a, b in ((5, 9), (2, 5), (40, 90)))
    scales = 10 ** (6 * torch.rand(width, generator=draw, dtype=torch.float64) - 1)
    x = torch.randn(count + QUERIES, width, generator=draw, dtype=torch.float64)
    y = torch.randint(classes, (count + QUERIES,), generator=draw)
    model = nn.Sequential(nn.Linear(width, 3), nn.Tanh(), nn.Linear(3, classes)).double()
    with torch.no_grad():
        model[0].weight.div_(scales)
    l2 = 10 ** (2 * float(torch.rand(1, generator=draw)) - 3)
    training, queries = (TensorDataset(x[part] * scales, y[part]) for part in (slice(count), slice(count, None)))
    return Study("random", [Stage("only", model, loss, training, l2=l2)], queries)


@pytest.mark.parametrize("seed", range(5))
def test_the_estimate_has_the_size_of_the_error_on_random_scales(seed):
    exact, many = solved(random_study(seed), "exact", "ggn"), 0
    for method, options in (("arnoldi", {"iterations": 6}), ("cg", {"iterations": 3}), ("lissa", {"depth": 100})):
        found = solved(random_study(seed), method, "ggn", **options)
        true, estimate = errors(found.values, exact.values), np.array(found.report["stages"][0]["score_error"])
        told_of = (true > 0.02) | (estimate > 0.02)
        share = estimate[told_of] / np.minimum(true[told_of], iterative.UNKNOWN_ERROR)
        assert ((share > 0.1) & (share < 10)).all(), f"{method}: true {true}, estimate {estimate}"
        assert bool(told(found.report)) == (estimate.max() > 0.02)
        many += told_of.any()
    assert many


class ZeroToken(nn.Module):
    """A token of zeros, as it is before training, normalised: rounding of its gradients is multiplied by 1e6."""

    def __init__(self):
        super().__init__()
        self.patches, self.token = nn.Linear(6, 8), nn.Parameter(torch.zeros(1, 1, 8))
        self.norm, self.last = nn.LayerNorm(8, eps=1e-12), nn.LayerNorm(8, eps=1e-12)
        self.mix, self.head = nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x):
        tokens = torch.cat([self.token.expand(len(x), -1, -1), self.patches(x.unflatten(1, (3, 6)))], 1)
        queries, keys, values = self.mix(self.norm(tokens)).chunk(3, -1)
        tokens = tokens + (queries @ keys.mT / 8**0.5).softmax(-1) @ values
        return self.head(self.last(tokens)[:, 0])


@pytest.mark.parametrize("method", ["exact", "cg", "ekfac"])
@pytest.mark.parametrize("l2", [1e-2, 1e-4])
def test_rounding_of_gradients_in_single_precision_is_estimated_and_told(method, l2):
    values, reports = [], []
    for dtype in (torch.float64, torch.float32):
        torch.manual_seed(0)
        model, x, y = ZeroToken(), torch.randn(45, 18), torch.randint(0, 3, (45,))
        training, queries = (TensorDataset(x[part].to(dtype), y[part]) for part in (slice(40), slice(40, None)))
        study = Study("zero", [Stage("only", model.to(dtype), loss, training, l2=l2)], queries)
        found = attribute(study, method="exact" if dtype == torch.float64 else method, progress=False)
        values.append(found.values)
        reports.append(found.report)
    true, estimate = errors(values[1], values[0]), np.array(reports[1]["stages"][0]["score_error"])
    assert 0.1 < estimate.max() / true.max() < 10
    assert bool(told(reports[1])) == (l2 < 1e-3)


@pytest.mark.parametrize(("method", "options"), [("lissa", {"depth": 300}), ("arnoldi", {"iterations": 12})])
def test_the_error_of_a_later_stage_is_a_part_of_the_earlier_ones(method, options):
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    plain, y = torch.randn(64, 4, generator=draw, dtype=torch.float64), torch.randint(3, (64,), generator=draw)
    scales = torch.tensor([1.0, 30.0, 1e2, 1e3], dtype=torch.float64)
    first, last = (nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).double() for _ in range(2))
    with torch.no_grad():
        last[0].weight.div_(scales)
    stages = [
        Stage("first", first, loss, TensorDataset(plain[:60], y[:60]), l2=0.3),
        Stage("only", last, loss, TensorDataset(plain[:60] * scales, y[:60]), l2=1e-3, proximity=1e-3,
              inherits={"0.weight": "0.weight"}),
    ]  # fmt: skip
    study = Study("two", stages, TensorDataset(plain[60:] * scales, y[60:]))
    exact, found = (solved(study, m, "ggn", **o) for m, o in (("exact", {}), (method, options)))
    true, estimate = errors(found.values, exact.values), np.array(found.report["stages"][0]["score_error"])
    assert true.max() > 0.1
    assert (estimate / true > 0.1).all(), (true, estimate)
    assert (estimate / true < 10).all(), (true, estimate)
    assert any("not converged at stage 'first'" in warning for warning in found.report["warnings"])
