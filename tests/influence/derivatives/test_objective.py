"""Gradients and curvature products of many kinds of models, against loops and dense matrices made here."""

from __future__ import annotations

import pytest
import torch
from minima import data, loss
from models import MODELS, Recurrent, flat_gradient, g, objective_of, words
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from influence import Stage, Study, attribute
from influence.attribution.products.dots import Dots, dots
from influence.derivatives.first.gradients import example_gradients, gradient
from influence.derivatives.second.gauss_newton import ggn
from influence.derivatives.second.hessian import hessian
from influence.derivatives.second.products import ggn_product, hessian_product


@pytest.fixture(params=MODELS)
def stage(request) -> Stage:
    make, examples = MODELS[request.param]
    torch.manual_seed(1)
    return Stage("stage", make().double(), loss, examples(9), l2=0.1)


def test_example_gradients_are_those_of_each_example_alone(stage):
    objective = objective_of(stage, batch_size=4)
    found = torch.cat([rows for _, rows in example_gradients(objective, stage.data, objective.all)])
    expected = torch.stack([flat_gradient(stage, [i]).detach() for i in range(9)])
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient(objective), expected.mean(0))


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("start", [0, 4])
def test_products_with_one_vector_and_with_several(stage, queries, start):
    objective = objective_of(stage, batch_size=4)
    vectors = torch.randn(queries, objective.all.size, dtype=torch.float64, generator=g)
    every = Dots(objective, stage.data, objective.all, vectors)
    found = torch.cat([block for _, block in every.batches(start)])
    expected = torch.stack([flat_gradient(stage, [i]).detach() for i in range(start, 9)]) @ vectors.T
    torch.testing.assert_close(found, expected)


def test_one_vector_where_forward_mode_has_no_rule():
    """As oneDNN's LSTM in single precision."""
    torch.manual_seed(1)
    stage = Stage("stage", Recurrent(), loss, words(9), l2=0.1)
    objective = objective_of(stage, batch_size=4)
    vector = torch.randn(1, objective.all.size, generator=g)
    found = torch.cat([block for _, block in dots(objective, stage.data, objective.all, vector)])
    expected = torch.stack([flat_gradient(stage, [i]).detach() for i in range(9)]) @ vector.T
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def dense_hessian(stage: Stage) -> torch.Tensor:
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention has no second derivative
        gradient = flat_gradient(stage, list(range(9))) / 9
    rows = [
        torch.autograd.grad(value, list(stage.model.parameters()), retain_graph=True, allow_unused=True)
        if value.requires_grad
        else [None] * len(list(stage.model.parameters()))
        for value in gradient
    ]
    parameters = list(stage.model.parameters())
    return torch.stack(
        [
            torch.cat(
                [
                    torch.zeros(p.numel(), dtype=torch.float64) if d is None else d.flatten()
                    for p, d in zip(parameters, row, strict=True)
                ]
            )
            for row in rows
        ]
    )


def test_hessian_products_and_matrix(stage):
    objective = objective_of(stage, batch_size=4)
    expected = dense_hessian(stage)
    vectors = torch.randn(3, objective.trained.size, generator=g, dtype=torch.float64)
    torch.testing.assert_close(hessian_product(objective, vectors), vectors @ expected, atol=1e-10, rtol=1e-7)
    torch.testing.assert_close(hessian(objective), expected, atol=1e-10, rtol=1e-7)


def test_gauss_newton_products_and_matrix(stage):
    """J' (diag p - p p') J, the Jacobian by plain autograd."""
    objective = objective_of(stage, batch_size=4)
    model, expected = stage.model.eval(), 0
    for i in range(9):
        outputs = model(stage.data.tensors[0][[i]])[0]
        rows = [torch.autograd.grad(o, list(model.parameters()), retain_graph=True, allow_unused=True) for o in outputs]
        jacobian = torch.stack(
            [
                torch.cat(
                    [
                        torch.zeros_like(p).flatten() if d is None else d.flatten()
                        for p, d in zip(model.parameters(), row, strict=True)
                    ]
                )
                for row in rows
            ]
        )
        p = outputs.softmax(0).detach()
        expected = expected + jacobian.T @ (torch.diag(p) - p[:, None] * p) @ jacobian / 9
    vectors = torch.randn(3, objective.trained.size, generator=g, dtype=torch.float64)
    torch.testing.assert_close(ggn(objective), expected, atol=1e-10, rtol=1e-7)
    torch.testing.assert_close(ggn_product(objective, vectors), vectors @ expected, atol=1e-10, rtol=1e-7)


def test_the_user_model_stays_as_it_was(stage):
    stage.model.train()
    before = {n: t.clone() for n, t in stage.model.state_dict().items()}
    attribute(Study("one", [stage], stage.data), method="cg", progress=False)
    assert stage.model.training
    assert all(module.training for module in stage.model.modules())
    assert all(torch.equal(t, before[n]) for n, t in stage.model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in stage.model.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in stage.model.modules())


def test_torchs_settings_are_as_before_while_gradients_are_handed_out():
    stage = Stage("one", nn.Linear(3, 3).double(), loss, data(9, 3, 3, g), l2=0.1)
    objective = objective_of(stage, batch_size=4)
    rows = example_gradients(objective, stage.data, objective.all)
    next(rows)
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()


def test_torchs_random_numbers_are_left_alone(stage):
    before = torch.get_rng_state()
    attribute(Study("one", [stage], stage.data), method="identity", progress=False)
    assert torch.equal(torch.get_rng_state(), before)
