"""Query vectors of low rank: only where the error that was asked for holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from minima import data, loss
from torch import nn

from influence import Stage, Study, attribute
from influence.derivatives.compression import low_rank
from influence.errors import MethodError

g = torch.Generator().manual_seed(0)


def test_matrices_of_low_rank_are_found_again():
    for shape in ((5, 12, 40), (5, 40, 12)):
        matrices = torch.randn(5, shape[1], 3, generator=g) @ torch.randn(5, 3, shape[2], generator=g)
        found = low_rank(matrices, 4)
        assert found.left.shape == (5, 4, shape[1])
        torch.testing.assert_close(found.left.mT @ found.right, matrices, rtol=1e-3, atol=1e-3)


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
        if compression["rank"] == 0 and not compression["half"]:
            np.testing.assert_array_equal(found.values, exact.values)
    ranks = [
        attribute(study, method="identity", error=e, progress=False).report["compression"]["rank"] for e in (0.3, 0.01)
    ]
    assert ranks[0] == 4  # a gradient dot product's vectors have rank 1


def test_it_is_a_share(study):
    with pytest.raises(MethodError, match="error is 1"):
        attribute(study, error=1, progress=False)


def test_half_precision_is_taken_where_it_is_fast_and_near_enough(study, monkeypatch):
    exact = attribute(study, method="cg", progress=False)
    for fast in (True, False):
        monkeypatch.setattr("influence.derivatives.compression._halves_pay", lambda device, fast=fast: fast)
        found = attribute(study, method="cg", error=0.02, progress=False)
        assert found.report["compression"]["half"] is fast
        apart = np.linalg.norm(found.values - exact.values, axis=1) / np.linalg.norm(exact.values, axis=1)
        assert apart.max() < 0.04
        tiny = attribute(study, method="cg", error=1e-6, progress=False)
        assert tiny.report["compression"] == {"rank": 0, "half": False, "error": 0.0}
