"""Vectors and gradients narrowed to the main directions of what goes into a layer: only where the error allows it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from minima import loss
from scipy.stats import spearmanr
from torch import nn
from torch.utils.data import TensorDataset

from influence import Stage, Study, attribute
from influence.attribution.products.compression import compressed
from influence.attribution.products.dots import Dots, dots
from influence.attribution.products.forms import products
from influence.attribution.products.narrowing import (
    main_directions,
    projected_factors,
    projected_vectors,
    smallest_bases,
)
from influence.derivatives.first.factors import Dense, Outer
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.objective import objectives_of

SIDES, INNER, PROBES, QUERIES = (5, 40), 6, 50, 80


def inputs(shape: tuple[int, ...], g: torch.Generator) -> torch.Tensor:
    """In six of forty directions, always the same ones, and a thousandth of anything."""
    mixing = torch.linalg.qr(torch.randn(SIDES[1], SIDES[1], generator=torch.Generator().manual_seed(9)))[0][:INNER]
    return torch.randn(*shape, INNER, generator=g) @ mixing + 1e-3 * torch.randn(*shape, SIDES[1], generator=g)


def factor(positions: int, seed: int) -> dict:
    g = torch.Generator().manual_seed(seed)
    shape = (PROBES, 1, positions)
    return {"weight": [Outer(torch.randn(*shape, SIDES[0], generator=g), inputs(shape, g))]}


@pytest.fixture
def vectors() -> dict:
    return {"weight": torch.randn(QUERIES, SIDES[0] * SIDES[1], generator=torch.Generator().manual_seed(3))}


@pytest.mark.parametrize("positions", [1, 7])
def test_the_directions_of_inputs_are_found(positions, vectors):
    """Eighths of forty directions are tried: ten are the fewest that hold six."""
    directions = main_directions([factor(positions, 0), factor(positions, 1)], QUERIES)
    probes = factor(positions, 2)
    exact = probes["weight"][0].gradients() @ vectors["weight"].T
    bases = smallest_bases(directions, vectors, probes, exact, error=0.1)
    assert bases["weight"].shape == (SIDES[1], 10)
    (few,) = projected_factors(probes, bases)["weight"]
    assert isinstance(few, Outer if positions == 1 else Dense)
    found = few.gradients() @ projected_vectors(vectors, bases)["weight"].T
    assert 1e-5 < float(((found - exact).norm(dim=0) / exact.norm(dim=0)).max()) < 0.01
    assert smallest_bases(directions, vectors, probes, exact, error=1e-6) == {}  # the thousandth counts


def test_in_all_directions_nothing_changes(vectors):
    probes = factor(1, 2)
    whole = main_directions([factor(1, 0)], QUERIES)
    found = projected_factors(probes, whole)["weight"][0].gradients() @ projected_vectors(vectors, whole)["weight"].T
    torch.testing.assert_close(found, probes["weight"][0].gradients() @ vectors["weight"].T, atol=1e-4, rtol=1e-4)


def test_few_vectors_are_not_worth_it():
    assert main_directions([factor(1, 0)], SIDES[1] - 1) == {}
    assert main_directions([factor(1, 0)], SIDES[1]).keys() == {"weight"}


def test_a_query_that_looks_at_the_other_directions_is_left_as_it_is(vectors):
    directions = main_directions([factor(1, 0), factor(1, 1)], QUERIES)
    odd = 7
    rest = directions["weight"][:, -10:]
    vectors["weight"][odd] = (vectors["weight"][odd].view(SIDES) @ rest @ rest.T).flatten()
    probes = factor(1, 2)
    exact = probes["weight"][0].gradients() @ vectors["weight"].T
    families, report = compressed(vectors, probes, PROBES, 0.1, directions)
    assert report["narrowed"] == {"weight": [10, 40]}
    assert [family.queries.tolist() for family in families if not family.bases] == [[odd]]
    found = products(families, probes, PROBES)
    assert float(((found - exact).norm(dim=0) / exact.norm(dim=0)).max()) < 0.1


@pytest.fixture
def study(monkeypatch) -> Study:
    """A convolution and linear layers on smooth pictures, narrowed from 400 examples on."""
    monkeypatch.setattr("influence.attribution.products.dots.MIN_EXAMPLES", 400)
    monkeypatch.setattr("influence.attribution.products.dots.BASIS_EXAMPLES", 200)
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(96, 20), nn.Tanh(), nn.Linear(20, 3)
    )  # fmt: skip
    x = nn.functional.interpolate(torch.randn(620, 3, 2, 2, generator=g), size=(6, 6), mode="bilinear")
    x += 0.01 * torch.randn(x.shape, generator=g)
    y = torch.randint(3, (620,), generator=g)
    data, queries = TensorDataset(x[:500], y[:500]), TensorDataset(x[500:], y[500:])
    return Study("smooth", [Stage("smooth", model, loss, data, l2=0.1)], queries)


@pytest.mark.parametrize("method", ["identity", "cg"])
def test_the_error_and_the_order_that_are_asked_for_hold(study, method):
    exact = attribute(study, method=method, progress=False).values
    found = attribute(study, method=method, error=0.05, progress=False)
    widths = found.report["compression"]["narrowed"]
    assert widths
    assert all(width <= 0.75 * whole for width, whole in widths.values())
    apart = np.linalg.norm(found.values - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert 0 < apart.max() < 0.05
    assert min(spearmanr(a, b).statistic for a, b in zip(found.values, exact, strict=True)) > 0.995


def test_a_pass_that_is_taken_up_again_does_as_the_first_did(study):
    (objective,) = objectives_of(study)
    training = study.stages[0].data
    vectors = torch.cat([rows for _, rows in example_gradients(objective, study.queries, objective.trained)])
    whole = torch.cat([block for _, block in dots(objective, training, objective.trained, vectors, error=0.05)])
    first = objective.remarks.compression
    assert first["narrowed"]
    again = Dots(objective, training, objective.trained, vectors, error=0.05)
    later = torch.cat([block for _, block in again.batches(256)])
    assert objective.remarks.compression == first
    torch.testing.assert_close(later, whole[256:], rtol=1e-4, atol=1e-4)
