"""Products with gradients that are never formed: however they are taken, those of the formed ones."""

from __future__ import annotations

import pytest
import torch

from influence.derivatives.first import factors
from influence.derivatives.first.factors import Outer

g = torch.Generator().manual_seed(0)


def linear(examples: int, left: int, right: int, idle: float) -> Outer:
    """Of a layer whose units have no gradient in a share `idle` of the cases."""
    back = torch.randn(examples, 1, 1, left, dtype=torch.float64, generator=g)
    back[torch.rand(back.shape, generator=g) < idle] = 0
    return Outer(back, torch.randn(examples, 1, 1, right, dtype=torch.float64, generator=g))


@pytest.mark.parametrize("sides", [(6, 40), (40, 6), (1, 9), (30, 30)])
@pytest.mark.parametrize("idle", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("queries", [1, 7, 64])
@pytest.mark.parametrize("way", ["_add_contracted", "_add_blocked", "_add_where_active", "add_dots"])
def test_every_way_gives_the_same(sides, idle, queries, way, monkeypatch):
    monkeypatch.setattr(factors, "CORE_CACHE_BYTES", 2000)  # some queries at a time
    monkeypatch.setattr(factors, "WORTH_PICKING", 1)
    factor = linear(23, *sides, idle)
    vectors = torch.randn(queries, sides[0] * sides[1], dtype=torch.float64, generator=g)
    found = torch.ones(23, queries, dtype=torch.float64)
    getattr(factor, way)(found, vectors)
    torch.testing.assert_close(found - 1, factor.gradients() @ vectors.T)


def test_idle_units_are_skipped_where_that_pays(monkeypatch):
    taken = []
    for way in ("_add_contracted", "_add_blocked", "_add_where_active"):
        monkeypatch.setattr(Outer, way, lambda self, scores, vectors, way=way: taken.append(way))
    for examples, idle, queries in ((256, 0.5, 1000), (256, 0.1, 1000), (256, 0.5, 10), (16, 0.5, 1000)):
        linear(examples, 64, 800, idle).add_dots(
            torch.zeros(examples, queries), torch.zeros(queries, 1).expand(-1, 51_200).double()
        )
    assert taken == ["_add_where_active", "_add_blocked", "_add_contracted", "_add_blocked"]
