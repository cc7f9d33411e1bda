"""The preconditioner of `cg` is an exact inverse, and makes the iterations fewer, never the answer another."""

from __future__ import annotations

import pytest
import torch
from minima import loss
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import Subset, TensorDataset

from influence import Stage, Study, attribute
from influence.curvature.cg import ConjugateGradients
from influence.curvature.linear_algebra import cg_preconditioner as package
from influence.curvature.linear_algebra.block_cg import refined
from influence.curvature.linear_algebra.cg_preconditioner import preconditioner
from influence.derivatives import Objective
from influence.derivatives.first.gradients import example_gradients, gradient
from influence.derivatives.objective import objectives_of
from influence.derivatives.second.products import ggn_product
from influence.study.parameters import groups_of


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """For queries that are many beside so few rows, too."""
    monkeypatch.setattr("influence.curvature.cg.MIN_ROWS_PER_QUERY", 1)


class Pictures(nn.Module):
    """A convolution, whose rows are formed, and linear layers, whose rows stay pairs."""

    def __init__(self, classes: int):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Softplus(), nn.Flatten(), nn.Linear(48, 6), nn.Softplus())
        self.head = nn.Linear(6, classes)
        self.double()

    def forward(self, x):
        return self.head(self.body(x))


@pytest.fixture
def study() -> Study:
    """Two stages, the second near its body's start; examples sorted by class, as on a disk."""
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(1)
    y = torch.arange(4).repeat_interleave(50)
    x = y[:, None, None, None] / 4 + torch.randn(200, 1, 6, 6, generator=g, dtype=torch.float64)
    first, second = Pictures(4), Pictures(4)
    second.body.load_state_dict(first.body.state_dict())
    inherited = {f"body.{name}": f"body.{name}" for name, _ in first.body.named_parameters()}
    data = TensorDataset(x, y)
    later = Stage("second", second, loss, data, l2=0.01, proximity=0.02, inherits=inherited)
    return Study("pictures", [Stage("first", first, loss, data, l2=0.01), later], Subset(data, range(0, 200, 40)))


@pytest.fixture
def objective(study) -> Objective:
    return objectives_of(study)[1]  # its ridge differs from parameter to parameter


def sides(study, objective):
    return torch.cat([rows for _, rows in example_gradients(objective, study.queries, objective.trained)])


@pytest.mark.parametrize("batch_size", [7, 256])
def test_it_is_the_inverse_of_some_examples_curvature(study, batch_size):
    first, second = study.stages
    objective = Objective(second, groups_of(second, first), batch_size=batch_size)
    diagonal = objective.ridge.double() + 0.1
    assert diagonal.unique().numel() > 1
    found = preconditioner(objective, diagonal, 2**30)
    assert found is not None
    assert found.examples == 20

    order = torch.randperm(200, generator=torch.Generator().manual_seed(0)).tolist()
    part = Stage("part", second.model, loss, Subset(second.data, order[:20]), inherits=second.inherits)
    dense = ggn_product(Objective(part, groups_of(part, first)), torch.eye(len(diagonal), dtype=torch.float64))
    vectors = torch.randn(3, len(diagonal), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = torch.linalg.solve(dense + torch.diag(diagonal), vectors.T).T
    torch.testing.assert_close(found.solve(vectors), expected)


def test_it_draws_from_all_classes_of_sorted_examples(study, objective, monkeypatch):
    drawn = []
    usual = package.batch_rows
    monkeypatch.setattr(package, "batch_rows", lambda o, room: drawn.append(o.stage.data.indices) or usual(o, room))
    preconditioner(objective, objective.ridge.double() + 0.1, 2**30)
    assert {int(study.stages[0].data[i][1]) for i in drawn[-1]} == {0, 1, 2, 3}


@pytest.mark.parametrize("curvature", ["ggn", "hessian"])
def test_fewer_iterations_lead_to_the_same_solution(study, objective, monkeypatch, curvature):
    queries = sides(study, objective)
    damping = 0.22 if curvature == "hessian" else 1e-3
    one = ConjugateGradients(objective, damping=damping, curvature=curvature, tolerance=1e-9)
    solution = one.solve(queries)
    monkeypatch.setattr("influence.curvature.cg.MIN_ROWS_PER_QUERY", 10_000)
    other = ConjugateGradients(objective, damping=damping, curvature=curvature, tolerance=1e-9)
    torch.testing.assert_close(solution, other.solve(queries), rtol=1e-6, atol=1e-8)
    assert (one.report["preconditioned"], other.report["preconditioned"]) == (20, 0)
    assert max(one.report["residuals"]) < 1e-9
    assert max(one.report["iterations"]) < max(other.report["iterations"])


def test_equal_dependent_and_zero_right_hand_sides_do_no_harm(study, objective):
    one, two = sides(study, objective)[:2]
    queries = torch.stack([one, one, one - 2 * two, 0 * one, 1e6 * two])
    solver = ConjugateGradients(objective, damping=1e-3, tolerance=1e-8)
    solution = solver.solve(queries)
    matrix = ggn_product(objective, torch.eye(len(one), dtype=torch.float64)) + torch.diag(objective.ridge + 1e-3)
    torch.testing.assert_close(solution, torch.linalg.solve(matrix, queries.T).T, rtol=1e-4, atol=1e-6)
    assert solver.report["iterations"][3] == 0


def test_any_preconditioner_gives_the_true_residual():
    g = torch.Generator().manual_seed(3)
    root = torch.randn(40, 40, generator=g, dtype=torch.float64)
    matrix = root @ root.T + torch.diag(torch.logspace(-2, 3, 40, dtype=torch.float64))
    scaled = 1 / matrix.diagonal()
    rows = torch.randn(3, 40, generator=g, dtype=torch.float64)

    def operator(vectors):
        return vectors @ matrix

    solution, residuals, _ = refined(operator, operator, rows, 1e-10, 200, lambda vectors: vectors * scaled)
    torch.testing.assert_close((rows - solution @ matrix).norm(dim=1) / rows.norm(dim=1), residuals)
    assert residuals.max() <= 1e-10


def test_many_queries_go_without_it(study, objective):
    solver = ConjugateGradients(objective, damping=0.01)
    rows = preconditioner(objective, objective.ridge.double() + 0.01, 2**30).rows
    for count, examples in ((rows, 20), (rows + 1, 0)):
        solver.solve(torch.randn(count, objective.trained.size, dtype=torch.float64))
        assert solver.report["preconditioned"] == examples


def test_without_it_where_it_does_not_pay_or_cannot_be_had(study, objective):
    diagonal = objective.ridge.double() + 0.1
    assert preconditioner(objective, diagonal, room=1000) is None
    assert preconditioner(objective, 0 * diagonal, 2**30) is None
    few = Stage("few", study.stages[0].model, loss, Subset(study.stages[0].data, range(10)), l2=0.01)
    found = attribute(Study("few", [few], study.queries), method="cg", progress=False)
    assert found.report["stages"][0]["preconditioned"] == 0


@pytest.mark.parametrize("damping", [1e-2, 1e-9])
def test_in_float32_with_next_to_no_damping_it_stands_back(study, damping):
    """Where rounding would make its inverse indefinite; the answer is `cg`'s in any case."""
    stage = study.stages[0]
    data = TensorDataset(stage.data.tensors[0].float(), stage.data.tensors[1])
    part = Stage("part", stage.model.float(), loss, data)
    (objective,) = objectives_of(Study("part", [part], Subset(data, [0])))
    found = preconditioner(objective, objective.ridge.double() + damping, 2**30)
    assert (found is None) == (damping < 1e-6)
    solver = ConjugateGradients(objective, damping=damping, tolerance=1e-3, iterations=300)
    assert solver.solve(sides(Study("part", [part], Subset(data, [0])), objective)).isfinite().all()


@pytest.mark.parametrize(("batch_size", "examples"), [(2, 2), (256, 3)])
def test_no_batch_of_one_is_asked_of_a_model_that_squeezes_it_away(batch_size, examples):
    g = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(30, 10, generator=g), torch.arange(30.0) % 2)
    stage = Stage(
        "squeeze", nn.Linear(10, 1), lambda o, b: binary_cross_entropy_with_logits(o, b[1], reduction="none"), data,
        l2=0.1, forward=lambda model, batch: model(batch[0]).squeeze(),
    )  # fmt: skip
    objective = Objective(stage, groups_of(stage, None), batch_size=batch_size)
    found = preconditioner(objective, objective.ridge.double() + 0.1, 2**30)
    assert found is not None
    assert found.examples == examples


def test_it_may_be_asked_for_any_stage_at_any_point(study):
    """Not at a minimum, several stages: as exact solves."""
    assert gradient(objectives_of(study)[0]).norm() > 1e-3
    one = attribute(study, method="cg", damping=0.01, tolerance=1e-8, progress=False)
    assert all(stage["preconditioned"] == 20 for stage in one.report["stages"])
    other = attribute(study, method="exact", damping=0.01, progress=False)
    torch.testing.assert_close(torch.tensor(one.values), torch.tensor(other.values), rtol=1e-3, atol=1e-6)
