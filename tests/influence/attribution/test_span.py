"""Queries pulled back by the directions that they span, against a product for each of them."""

from __future__ import annotations

import pytest
import torch
from minima import Net, data, loss

from influence import Stage, Study
from influence.attribution import span
from influence.attribution.span import MixedDerivative, orthonormal
from influence.derivatives.objective import objectives_of
from influence.derivatives.second.products import mixed_product

RANK = 3


def frozen_body():
    """A finetuning that trains a head of 15 numbers on a frozen body."""
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    stages = [
        Stage("pretrain", Net(2), loss, data(24, 3, 2, g), l2=0.02),
        Stage("finetune", Net(3), loss, data(18, 3, 3, g), l2=0.02, frozen=["first.*", "second.*"]),
    ]
    return objectives_of(Study("two", stages, data(4, 3, 3, g)))[1]


def spanned(objective, count: int, seed: int = 0, rank: int = RANK) -> torch.Tensor:
    """Vectors (count, T) of very different lengths in a space of `rank` dimensions, the same for every seed."""
    plane = torch.randn(rank, objective.trained.size, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    g = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, rank, generator=g, dtype=torch.float64) @ plane
    return (rows * torch.logspace(-4, 2, count, dtype=torch.float64)[:, None]).to(objective.sum_dtype)


@pytest.fixture
def passes(monkeypatch):
    """How many vectors each pass over the data took."""
    counts = []

    def counted(objective, vectors):
        counts.append(len(vectors))
        return mixed_product(objective, vectors)

    monkeypatch.setattr(span, "mixed_product", counted)
    return counts


def same(found, wanted):
    epsilon = torch.finfo(wanted.dtype).eps
    errors = (found - wanted).norm(dim=1) / wanted.norm(dim=1)
    assert errors.max() < 300 * epsilon, "every vector is right to its own length, the shortest too"


def test_products_of_many_vectors_take_a_pass_for_each_direction(passes):
    objective, mixed = frozen_body(), MixedDerivative()
    vectors = spanned(objective, 8)
    same(mixed(objective, vectors), mixed_product(objective, vectors))
    assert passes == [RANK]


def test_further_vectors_of_the_same_span_take_no_pass(passes):
    objective, mixed = frozen_body(), MixedDerivative()
    mixed(objective, spanned(objective, 8))
    more = spanned(objective, 5, seed=1)
    same(mixed(objective, more), mixed_product(objective, more))
    beyond = spanned(objective, 5, seed=2, rank=RANK + 1)
    same(mixed(objective, beyond), mixed_product(objective, beyond))
    assert len(passes) == 2
    assert passes[0] == RANK


@pytest.mark.parametrize("rank", [RANK, 6])
def test_without_room_nothing_is_kept_and_products_are_the_same(passes, monkeypatch, rank):
    monkeypatch.setattr(span, "BUDGET", 0)
    objective, mixed = frozen_body(), MixedDerivative()
    vectors = spanned(objective, 6, rank=rank)
    same(mixed(objective, vectors), mixed_product(objective, vectors))
    assert passes == [rank]
    assert not len(mixed.directions)


def test_products_are_linear():
    objective, mixed = frozen_body(), MixedDerivative()
    one, other = spanned(objective, 6, rank=6), spanned(objective, 6, seed=1, rank=6)
    same(mixed(objective, 2 * one - 3 * other), 2 * mixed(objective, one) - 3 * mixed(objective, other))


def test_a_vector_of_zeros_has_the_product_zero():
    objective, mixed = frozen_body(), MixedDerivative()
    vectors = spanned(objective, 3)
    vectors[1] = 0
    assert not mixed(objective, vectors)[1].any()


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_directions_are_orthonormal_and_hold_every_vector(kind):
    g = torch.Generator().manual_seed(0)
    vectors = (torch.randn(9, 4, generator=g) @ torch.randn(4, 20, generator=g).double().float()).to(kind)
    tolerance = 16 * torch.finfo(torch.float32).eps
    found = orthonormal(vectors, vectors.norm(dim=1), tolerance)
    assert found.shape == (4, 20)
    torch.testing.assert_close(found @ found.T, torch.eye(4, dtype=kind), atol=1e-6, rtol=0)
    left = vectors - vectors @ found.T @ found
    assert (left.norm(dim=1) <= 2 * tolerance * vectors.norm(dim=1)).all()
