"""Axes in what the rows span, against the whole Kronecker factor decomposed."""

from __future__ import annotations

import pytest
import torch
from minima import data, loss
from torch import nn
from torch.utils.data import TensorDataset

import influence.curvature.ekfac as ekfac
import influence.curvature.linear_algebra.axes as axes
from influence import Stage, Study
from influence.curvature.ekfac import EKFAC
from influence.curvature.linear_algebra.axes import Axes, Moment
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.objective import objectives_of
from influence.derivatives.second.gauss_newton import ggn


@pytest.fixture(autouse=True)
def _never_exact(monkeypatch):
    monkeypatch.setattr(ekfac, "MAX_EXACT_STAGE", 0)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def axes_of(*batches: torch.Tensor) -> Axes:
    moment = Moment(batches[0].shape[2])
    for rows in batches:
        moment.add(rows)
    return moment.axes()


def objective_of(model: nn.Module, examples, l2=0.1):
    return objectives_of(Study("one", [Stage("stage", model.double(), loss, examples, l2=l2)], examples))[0]


def gradients_of(objective) -> torch.Tensor:
    return torch.cat([rows for _, rows in example_gradients(objective, objective.stage.data, objective.trained)])


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(("count", "rank"), [(6, 6), (12, 5)])
def test_axes_of_few_rows_are_eigenvectors_of_their_second_moment(groups, count, rank):
    rows = drawn(groups, count, rank) @ drawn(groups, rank, 20, seed=1)
    found = axes_of(rows[:, :4], rows[:, 4:])
    assert (found.basis.shape[2], found.outside, found.count) == (rank, 20 - rank, rank + 1)
    torch.testing.assert_close(found.basis.mT @ found.basis, torch.eye(rank).double().expand(groups, -1, -1))
    moment = rows.mT @ rows
    variances = torch.linalg.eigvalsh(moment)[:, -rank:]
    torch.testing.assert_close(found.basis.mT @ moment @ found.basis, variances.diag_embed())


def test_rows_in_single_precision_that_repeat_span_no_more_than_they_do():
    rows = (drawn(1, 3, 4) @ drawn(1, 4, 30, seed=1)).float().repeat(1, 7, 1)
    found = axes_of(rows)
    assert found.basis.shape == (1, 30, 3)
    torch.testing.assert_close(found.basis.mT @ found.basis, torch.eye(3)[None], atol=1e-6, rtol=0)


def test_groups_of_different_rank_have_orthonormal_axes_that_span_their_rows():
    rows = torch.stack([drawn(5, 20), drawn(5, 2) @ drawn(2, 20, seed=1)])
    found = axes_of(rows)
    assert found.basis.shape == (2, 20, 5)
    torch.testing.assert_close(found.basis.mT @ found.basis, torch.eye(5).double().expand(2, -1, -1))
    torch.testing.assert_close(rows @ found.basis @ found.basis.mT, rows)


@pytest.mark.parametrize("basis", [None, torch.linalg.qr(drawn(1, 20, 4))[0], torch.linalg.qr(drawn(1, 20, 20))[0]])
def test_turning_and_back_changes_nothing_and_keeps_lengths(basis):
    side, rows = Axes(20, basis), drawn(3, 1, 7, 20, seed=2)
    turned = side.turned(rows)
    assert turned.shape == (3, 1, 7, side.width)
    torch.testing.assert_close(side.back(turned), rows)
    sums = side.gathered(turned.square())
    torch.testing.assert_close(sums.sum(-1), rows.square().sum(-1))
    assert sums.shape[-1] == side.count
    values = drawn(1, 7, side.count, seed=3).square()
    torch.testing.assert_close((turned.square() * side.repeated(values)).sum(-1), (sums * values).sum(-1))


def test_no_rows_but_zeros_leave_the_coordinate_axes():
    assert axes_of(torch.zeros(1, 5, 20)).basis is None


def test_too_many_rows_of_a_long_side_leave_the_coordinate_axes(monkeypatch):
    monkeypatch.setattr(axes, "MAX_SIDE", 10)
    assert axes_of(drawn(1, 4, 20)).basis.shape == (1, 20, 4)
    assert axes_of(drawn(1, 4, 20), drawn(1, 4, 20)).basis is None


class Wide(nn.Module):
    """A convolution of 72 inputs that is seen at one place of eight pictures, and at more by its bias."""

    def __init__(self, places: int):
        super().__init__()
        self.sweep, self.head = nn.Conv2d(8, 4, 3), nn.Linear(4 * places**2, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.sweep(x)).flatten(1))


@pytest.mark.parametrize("places", [1, 2])
def test_a_wide_layer_with_few_examples_is_solved_as_with_its_whole_factor(places, monkeypatch):
    torch.manual_seed(0)
    pictures = TensorDataset(drawn(8, 8, places + 2, places + 2), torch.arange(8) % 3)
    objective = objective_of(Wide(places), pictures)
    queries = gradients_of(objective)
    chance = drawn(3, queries.shape[1], seed=5)
    spanned = EKFAC(objective)
    block = spanned.blocks["sweep.weight", "sweep.bias"]
    assert block.axes[1].basis.shape == (1, 73, 8 * places**2)
    monkeypatch.setattr(axes, "SPAN_SHARE", 0.0)
    whole = EKFAC(objective)
    assert whole.blocks["sweep.weight", "sweep.bias"].axes[1].basis.shape == (1, 73, 73)
    for rows in (queries, chance):
        torch.testing.assert_close(spanned.solve(rows), whole.solve(rows))
        torch.testing.assert_close(spanned.norms(rows), whole.norms(rows))


def test_inputs_in_a_subspace_of_independent_sides_are_exact():
    """As in test_ekfac.py, with the three inputs turned into twenty, and one output, whose sign does not matter."""
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).double()
    turn = torch.linalg.qr(drawn(20, 3))[0].T
    examples = TensorDataset(signs @ turn, torch.zeros(8, 1).double())
    stage = Stage("linear", nn.Linear(20, 1).double(), lambda o, b: 0.5 * (o - b[1]).square().sum(1), examples, l2=0.1)
    objective = objectives_of(Study("one", [stage], examples))[0]
    solver = EKFAC(objective)
    assert solver.blocks["weight", "bias"].axes[1].basis.shape == (1, 21, 4)
    queries = torch.cat([gradients_of(objective), drawn(2, objective.trained.size)])
    exact = torch.linalg.solve(ggn(objective) + torch.diag(objective.ridge), queries.T).T
    torch.testing.assert_close(solver.solve(queries), exact)


def test_what_the_first_pass_did_not_see_keeps_its_curvature():
    """Forty outputs whose random gradients are other ones in the second pass: the trace is that of the whole matrix."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 40), nn.Tanh(), nn.Linear(40, 3))
    objective = objective_of(model, data(12, 4, 3, torch.Generator().manual_seed(0)))
    solver = EKFAC(objective, draws=2)
    block = solver.blocks["0.weight", "0.bias"]
    left = block.axes[0]
    assert left.outside
    sums = block.curvature.clone()
    sums[:, -1] *= left.outside
    matrix = ggn(objective)
    place = torch.cat([torch.arange(s.start, s.stop) for s in block.places])
    assert float(sums.sum()) / solver.count == pytest.approx(float(matrix.diagonal()[place].sum()), rel=0.4)
    rows = drawn(4, objective.trained.size)
    torch.testing.assert_close(solver.norms(rows), (solver.solve(rows) * rows).sum(1))
    again = EKFAC(objective, draws=2, state=solver.state())
    torch.testing.assert_close(again.solve(rows), solver.solve(rows))
    torch.testing.assert_close(solver.solve(rows)[1:2], solver.solve(rows[1:2]))
