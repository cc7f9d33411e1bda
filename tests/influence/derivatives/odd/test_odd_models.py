"""Models, losses and batches that are not as most are: scored as they should be, or refused by name."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
import torch
from minima import data, loss
from models import flat_gradient, g, objective_of, scores_of
from torch import nn
from torch.utils.data import TensorDataset

from influence import Stage, Study, attribute
from influence.derivatives.second.gauss_newton import ggn
from influence.errors import StudyError


def test_half_precision_models_are_scored_in_float32():
    torch.manual_seed(0)
    model = nn.Linear(3, 3).double()
    examples = data(9, 3, 3, g)
    exact = attribute(Study("double", [Stage("one", model, loss, examples, l2=0.1)], examples), progress=False).values
    halves = TensorDataset(examples.tensors[0].bfloat16(), examples.tensors[1])
    half = Stage("one", copy.deepcopy(model).bfloat16(), loss, halves, l2=0.1)
    found = attribute(Study("half", [half], halves), progress=False).values
    assert found.dtype == exact.dtype
    assert abs(found - exact).max() < 0.05 * abs(exact).max()


class InTwoPrecisions(nn.Module):
    def __init__(self, inner: torch.dtype):
        super().__init__()
        self.inner, self.head = nn.Linear(3, 4).to(inner), nn.Linear(4, 3).double()

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x.to(self.inner.weight.dtype))).double())


@pytest.mark.parametrize("method", ["identity", "exact", "cg"])
def test_parameters_of_two_precisions(method):
    models = [InTwoPrecisions(torch.float32), InTwoPrecisions(torch.float64)]
    models[1].load_state_dict(models[0].state_dict())
    examples = data(9, 3, 3, g)
    found, expected = (
        attribute(
            Study("one", [Stage("stage", model, loss, examples, l2=0.1)], examples), method=method, progress=False
        ).values
        for model in models
    )
    np.testing.assert_allclose(found, expected, atol=1e-5 * abs(expected).max())


class Square(torch.autograd.Function):
    """In the older style, which `torch.func` does not take."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient * ctx.saved_tensors[0]


class Squares(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x):
        return Square.apply(self.inner(x))


@pytest.mark.parametrize("method", ["identity", "exact"])
def test_a_function_that_torch_func_does_not_take(method):
    torch.manual_seed(0)
    stage = Stage("stage", Squares().double(), loss, data(9, 3, 3, g), l2=0.1)
    found = attribute(Study("one", [stage], stage.data), method=method, damping=0.0, progress=False).values
    rows = torch.stack([flat_gradient(stage, [i]).detach() for i in range(9)])
    curvature = ggn(objective_of(stage)) + 0.1 * torch.eye(12) if method == "exact" else torch.eye(12)
    expected = rows @ torch.linalg.solve(curvature.double(), rows.T) / 9
    torch.testing.assert_close(torch.from_numpy(found).double(), expected, rtol=1e-4, atol=1e-6)


class Keeping(nn.Module):
    """Holds on to an activation, as those do whose authors want to look at it."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.seen = nn.Linear(3, 4), nn.Linear(4, 3), {}

    def forward(self, x):
        self.seen["hidden"] = torch.tanh(self.one(x))
        return self.two(self.seen["hidden"])


@pytest.mark.parametrize("method", ["exact", "cg", "ekfac", "identity"])
def test_a_model_that_keeps_an_activation(method):
    torch.manual_seed(0)
    model = Keeping().double()
    expected = scores_of(model, method=method)
    model(torch.ones(2, 3, dtype=torch.float64))
    kept = model.seen["hidden"]
    np.testing.assert_allclose(scores_of(model, method=method), expected, rtol=1e-5)
    assert model.seen["hidden"] is kept


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
def test_weight_normalisation_in_the_older_style():
    torch.manual_seed(0)
    old, new = (
        nn.Sequential(norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 3)).double()
        for norm in (nn.utils.weight_norm, nn.utils.parametrizations.weight_norm)
    )
    within = {"0.weight_g": "original0", "0.weight_v": "original1"}
    names = {name: f"0.parametrizations.weight.{within[name]}" if name in within else name for name in old.state_dict()}
    new.load_state_dict({there: old.state_dict()[here] for here, there in names.items()})
    old(torch.ones(2, 3, dtype=torch.float64))
    np.testing.assert_allclose(scores_of(old, method="exact"), scores_of(new, method="exact"), rtol=1e-5)


def test_a_model_that_cannot_be_copied_is_named():
    model = nn.Linear(3, 3).double()
    model.lock = threading.Lock()
    with pytest.raises(StudyError, match=r"The model Linear cannot be copied \(cannot pickle '_thread.lock' object"):
        scores_of(model)


@pytest.mark.parametrize("method", ["exact", "cg", "ekfac", "identity"])
@pytest.mark.parametrize("inside", [False, True])
def test_within_inference_mode(method, inside):
    def model():
        torch.manual_seed(0)
        return nn.Linear(3, 3).double()

    expected, outside = scores_of(model(), method=method), model()
    with torch.inference_mode():
        np.testing.assert_array_equal(scores_of(model() if inside else outside, method=method), expected)


class Quantised(nn.Module):
    """A base weight of integers with its scale, and an adapter of low rank."""

    def __init__(self, whole=True):
        super().__init__()
        base = torch.randint(-100, 100, (5, 4), generator=torch.Generator().manual_seed(0))
        self.base = nn.Parameter(base.to(torch.int8 if whole else torch.float64), requires_grad=False)
        self.down, self.up = nn.Linear(4, 2, bias=False), nn.Linear(2, 5, bias=False)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(torch.tanh(x @ (self.base.to(x) * 0.01).T + self.up(self.down(x))))


@pytest.mark.parametrize("method", ["identity", "exact", "cg", "ekfac"])
def test_parameters_of_integers_are_constants(method):
    torch.manual_seed(0)
    coarse, fine = Quantised().double(), Quantised(whole=False).double()
    fine.load_state_dict(coarse.state_dict())
    examples = data(12, 4, 3, g)
    found = [
        attribute(
            Study("one", [Stage("one", model, loss, examples, l2=0.1, frozen=frozen)], examples),
            method=method,
            progress=False,
        )
        for model, frozen in ((coarse, ()), (coarse, ["base"]), (fine, ["base"]))
    ]
    np.testing.assert_allclose(found[0].values, found[2].values, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(found[1].values, found[0].values)
    assert found[0].report["not_covered"] == {"one": ["base"]}
    assert len(found[0].report["warnings"]) == len(found[2].report["warnings"])  # that it stands at no minimum


def test_trained_weights_that_became_integers_are_told():
    torch.manual_seed(0)
    before, after, examples = Quantised(whole=False).double(), Quantised().double(), data(12, 4, 3, g)
    before.base.requires_grad_()
    after.load_state_dict(before.state_dict())
    stages = [
        Stage("before", before, loss, examples, l2=0.1),
        Stage("after", after, loss, examples, l2=0.1, proximity=0.1, frozen=["base", "down.*", "up.*"]),
    ]
    warnings = attribute(Study("two", stages, examples), method="exact", progress=False).report["warnings"]

    assert any("base are integers, of shapes" in warning for warning in warnings)
    with pytest.raises(StudyError, match="covers every parameter"):
        attribute(Study("one", [Stage("one", after, loss, examples, frozen=["[!b]*"])], examples), progress=False)
