"""The Gauss-Newton matrix from kept rows, also of networks in which much is idle, against differentiation."""

from __future__ import annotations

import pytest
import torch
from minima import loss
from torch import nn
from torch.utils.data import TensorDataset

from influence import Stage
from influence.derivatives import Objective
from influence.derivatives.second import gauss_newton
from influence.derivatives.second.gauss_newton import GaussNewton, ggn
from influence.derivatives.second.products import ggn_product
from influence.derivatives.second.rows import BatchRows
from influence.study.parameters import groups_of

EXAMPLES = 23


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 7), nn.ReLU(), nn.Linear(7, 3)
    ).double()  # fmt: skip


def objective_of(model: nn.Module) -> Objective:
    """On pictures of which the last row of pixels is never set."""
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(EXAMPLES, 1, 6, 6, generator=g).double(), torch.randint(3, (EXAMPLES,), generator=g)
    x[:, :, -1] = 0
    stage = Stage("only", model, loss, TensorDataset(x, y))
    return Objective(stage, groups_of(stage, None), batch_size=6)


@pytest.fixture
def idle() -> Objective:
    """One of four channels and three of seven units are cut off in all examples."""
    torch.manual_seed(0)
    model = network()
    with torch.no_grad():
        model[0].bias[1] = -100.0
        model[3].bias[[0, 2, 5]] = -100.0
    return objective_of(model)


def test_products_are_those_of_differentiation(idle):
    vectors = torch.randn(5, idle.trained.size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = ggn_product(idle, vectors)
    torch.testing.assert_close(GaussNewton(idle).product(vectors), expected, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(vectors @ ggn(idle), expected, atol=1e-12, rtol=1e-9)


def test_rows_are_multiplied_out_within_the_budget(idle, monkeypatch):
    """Two examples at a time, of two directions each (a softmax of three has no more); a batch has six."""
    expected, formed, dense = ggn(idle), [], BatchRows.dense
    monkeypatch.setattr(gauss_newton, "BUDGET", 2 * 2 * 8 * idle.trained.size)
    monkeypatch.setattr(BatchRows, "dense", lambda self, size: (formed.append(self.count), dense(self, size))[1])
    torch.testing.assert_close(ggn(idle), expected, atol=1e-13, rtol=1e-12)
    assert formed == [2] * 11 + [1]


def test_idle_parameters_are_left_out_and_no_other(idle):
    found = GaussNewton(idle).places
    assert found is not None
    left = torch.ones(idle.trained.size, dtype=torch.bool)
    left[found] = False
    where = idle.trained.unflatten(left[None].double())
    assert where["0.weight"][0, 1].all()  # the channel that is cut off
    assert where["3.weight"][0, [0, 2, 5]].all()
    assert where["3.weight"][0, :, 16:32].all()  # what the next layer has of it
    assert not ggn(idle).diagonal()[left].any()
    assert left.sum() < 1.1 * (ggn(idle).diagonal() == 0).sum()


def test_a_network_without_idle_units_keeps_its_rows_as_they_are():
    torch.manual_seed(0)
    smooth = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(64, 3)).double()
    found = GaussNewton(objective_of(smooth))
    assert found.places is None
    assert found.kept is not None


def test_a_unit_that_only_the_last_example_uses_is_kept(idle):
    """Batches are six examples: of all but the last one it is idle."""
    x = idle.stage.data.tensors[0]
    x[:-1, :, -3:] = 0  # the last rows of the convolution's output are its bias's alone, but for the last example
    vectors = torch.randn(2, idle.trained.size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = GaussNewton(idle).product(vectors)
    torch.testing.assert_close(found, ggn_product(idle, vectors), atol=1e-12, rtol=1e-9)


def test_rows_that_do_not_fit_are_not_kept(idle):
    vectors = torch.randn(2, idle.trained.size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = GaussNewton(idle, memory=100)
    assert found.kept is None
    assert found.places is None
    torch.testing.assert_close(found.product(vectors), ggn_product(idle, vectors))
