"""Query vectors of low rank: only where the error that was asked for holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from minima import data, loss
from torch import nn

from influence import Stage, Study, attribute
from influence.attribution.products.compression import _chosen, compressed
from influence.attribution.products.forms import products
from influence.attribution.products.low_rank import low_rank
from influence.derivatives.first.factors import Outer
from influence.derivatives.first.gradients import without_specks
from influence.errors import MethodError

g = torch.Generator().manual_seed(0)


def test_matrices_of_low_rank_are_found_again():
    for shape in ((5, 12, 40), (5, 40, 12)):
        matrices = torch.randn(5, shape[1], 3, generator=g) @ torch.randn(5, 3, shape[2], generator=g)
        found = low_rank(matrices, 4)
        assert found.left.shape == (4, 5, shape[1])
        sums = torch.einsum("rql,rqk->qlk", found.left, found.right)
        torch.testing.assert_close(sums, matrices, rtol=1e-3, atol=1e-3)


def test_the_largest_directions_come_first():
    matrices = torch.randn(5, 12, 40, generator=g)
    found = low_rank(matrices, 12)
    sizes = found.left.norm(dim=2) * found.right.norm(dim=2)  # (12, 5)
    torch.testing.assert_close(sizes.T, torch.linalg.svdvals(matrices), rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def study() -> Study:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(60, 50), nn.Tanh(), nn.Linear(50, 3))
    return Study("wide", [Stage("wide", model, loss, data_of(300), l2=0.1)], data_of(40))


def data_of(count: int):
    examples = data(count, 60, 3, g)
    return torch.utils.data.TensorDataset(examples.tensors[0].float(), examples.tensors[1])


@pytest.mark.parametrize("method", ["identity", "cg"])
def test_the_error_that_is_asked_for_holds(study, method):
    exact = attribute(study, method=method, progress=False)
    assert exact.report["compression"] == {}
    for error in (0.3, 0.01):
        found = attribute(study, method=method, error=error, progress=False)
        apart = np.linalg.norm(found.values - exact.values, axis=1) / np.linalg.norm(exact.values, axis=1)
        compression = found.report["compression"]
        assert compression["error"] <= error
        assert apart.max() < 2 * error  # on all examples, not only on those where it was measured
        assert sum(form["queries"] for form in compression["forms"]) == len(exact.values)
    loose = attribute(study, method="identity", error=0.3, progress=False).report["compression"]["forms"]
    assert [form["rank"] for form in loose] == [4]  # a gradient dot product's vectors have rank 1


def test_it_is_a_share(study):
    with pytest.raises(MethodError, match="error is 1"):
        attribute(study, error=1, progress=False)


def test_half_precision_is_taken_where_it_is_fast_and_near_enough(study, monkeypatch):
    exact = attribute(study, method="cg", progress=False)
    for fast in (True, False):
        monkeypatch.setattr("influence.attribution.products.compression.halves_pay", lambda device, fast=fast: fast)
        found = attribute(study, method="cg", error=0.02, progress=False)
        assert any(form["half"] for form in found.report["compression"]["forms"]) is fast
        apart = np.linalg.norm(found.values - exact.values, axis=1) / np.linalg.norm(exact.values, axis=1)
        assert apart.max() < 0.04
        tiny = attribute(study, method="cg", error=1e-6, progress=False)
        whole = {"rank": 0, "half": False, "narrow": False, "queries": len(exact.values)}
        assert tiny.report["compression"] == {"forms": [whole], "narrowed": {}, "error": 0.0}
        np.testing.assert_array_equal(tiny.values, exact.values)


def test_each_query_gets_a_form_of_its_own():
    few, many = torch.randn(30, 3, 3, generator=g), torch.randn(30, 64, 64, generator=g)
    left, right = torch.randn(2, 30, 64, 3, generator=g)
    matrices = torch.cat([left @ few @ right.mT, many])  # thirty of rank 3, thirty of full rank
    vectors = {"weight": matrices[torch.randperm(60, generator=g)].flatten(1)}
    factors = {"weight": [Outer(*torch.randn(2, 100, 1, 1, 64, generator=g))]}
    families, done = compressed(vectors, factors, 100, error=1e-3)
    assert [(form["rank"], form["queries"]) for form in done["forms"]] == [(4, 30), (0, 30)]
    found = products(families, factors, 100)
    exact = factors["weight"][0].gradients() @ vectors["weight"].T
    assert ((found - exact).norm(dim=0) / exact.norm(dim=0)).max() <= 1e-3


def test_a_form_for_few_queries_is_given_up_where_another_will_do():
    """A group costs as much as some queries do."""
    near = torch.zeros(3, 200, dtype=torch.bool)
    near[2] = True  # as they are
    near[1, :150], near[0, :5] = True, True
    prices = [200.0, 300.0, 1000.0]
    assert _chosen(near, prices, 1000.0, every=True).tolist() == 150 * [1] + 50 * [2]
    near[1, 5:] = False  # five queries are not worth a group
    assert _chosen(near, prices, 1000.0, every=True).tolist() == 200 * [2]
    near[2, :] = False  # narrowed vectors: those without a form are left to others
    near[0, :150] = True
    assert _chosen(near, prices, 1000.0, every=False).tolist() == 150 * [0] + 50 * [-1]


def test_specks_are_left_out_and_change_no_product():
    vectors = torch.randn(4, 5000, generator=g)
    vectors[:, ::2] *= 1e-30
    vectors[1] *= 1e-25  # a query of small gradients keeps them
    found = without_specks(vectors)
    assert (found[:, ::2] == 0).all()
    torch.testing.assert_close(found[:, 1::2], vectors[:, 1::2], rtol=0, atol=0)
    gradients = torch.randn(5000, 3, generator=g)
    torch.testing.assert_close(found @ gradients, vectors @ gradients)
