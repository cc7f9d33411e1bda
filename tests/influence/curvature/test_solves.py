"""The solves against dense linear algebra, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from minima import Net, data, loss
from torch import nn

from influence import Stage, Study, attribute
from influence.curvature import METHODS, method_named
from influence.curvature.linear_algebra.block_cg import refined
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.objective import objectives_of
from influence.derivatives.second.gauss_newton import ggn
from influence.derivatives.second.hessian import hessian
from influence.errors import CurvatureError, MethodError


@pytest.fixture
def study() -> Study:
    """A stage at random parameters: its Hessian is indefinite."""
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    return Study("random", [Stage("only", Net(3), loss, data(30, 3, 3, g), l2=0.05)], data(4, 3, 3, g))


@pytest.fixture
def objective(study):
    return objectives_of(study)[0]


@pytest.mark.parametrize("name", ["exact", "cg"])
@pytest.mark.parametrize("damping", [0.0, 0.01, 1.0])
def test_gauss_newton_solves(objective, name, damping):
    queries = torch.randn(5, objective.trained.size, dtype=torch.float64)
    matrix = ggn(objective) + torch.diag(objective.ridge) + damping * torch.eye(objective.trained.size)
    solved = method_named(name)(objective, damping=damping).solve(queries)
    torch.testing.assert_close(solved, torch.linalg.solve(matrix, queries.T).T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["exact", "cg"])
def test_an_indefinite_hessian_is_refused_with_the_damping_that_it_needs(study, objective, name):
    smallest = torch.linalg.eigvalsh(hessian(objective) + torch.diag(objective.ridge))[0].item()
    assert smallest < 0
    with pytest.raises(CurvatureError, match="'only': the hessian has the eigenvalue -") as error:
        attribute(study, method=name, curvature="hessian", progress=False)
    needed = float(str(error.value).split("Use damping=")[1].split(" ")[0])
    assert -smallest < needed < -2 * smallest
    attribute(study, method=name, curvature="hessian", damping=needed, progress=False)


@pytest.mark.parametrize(("l2", "damping"), [({"*.weight": 0.05, "head.bias": 0.02}, 0.0002), ({"*": 0.05}, 0.0)])
def test_damping_where_some_parameters_have_l2_is_a_share_of_the_smallest(study, l2, damping):
    stage = study.stages[0]
    stage.l2 = l2
    (objective,) = objectives_of(study)
    assert method_named("exact")(objective).damping == pytest.approx(damping)


def test_damping_is_zero_with_l2_and_a_share_of_the_mean_eigenvalue_without(study, objective):
    assert attribute(study, method="exact", progress=False).report["stages"][0]["damping"] == 0
    bare = Stage("only", study.stages[0].model, loss, study.stages[0].data)
    picked = attribute(Study("bare", [bare], study.queries), method="exact", progress=False).report["stages"][0][
        "damping"
    ]
    mean = torch.linalg.eigvalsh(ggn(objective)).mean().item()
    assert 0.2 < picked / (0.01 * mean) < 5


def test_conjugate_gradients_report_the_true_residual_and_stop_each_row_alone():
    g = torch.Generator().manual_seed(3)
    root = torch.randn(40, 40, generator=g, dtype=torch.float64)
    matrix = root @ root.T / 40 + 0.1 * torch.eye(40)
    easy = torch.linalg.eigh(matrix)[1][:, 0]
    sides = torch.stack([torch.randn(40, generator=g, dtype=torch.float64), easy, torch.zeros(40, dtype=torch.float64)])
    solution, residuals, counts = refined(lambda v: v @ matrix, lambda v: v @ matrix, sides, 1e-8, 500)
    torch.testing.assert_close(solution, torch.linalg.solve(matrix, sides.T).T, rtol=1e-5, atol=1e-7)
    assert residuals.max() < 1e-7
    assert counts[2] == 0
    assert counts[1] <= 2 < counts[0], "an eigenvector needs one step"


def test_conjugate_gradients_end_where_products_are_no_numbers():
    sides = torch.ones(2, 3, dtype=torch.float64)
    calls = []

    def precise(vectors):
        calls.append(vectors)
        return torch.full_like(vectors, torch.nan)

    _, residuals, _ = refined(lambda v: v, precise, sides, 1e-8, 50)
    assert residuals.isnan().all()
    assert len(calls) < 5


def test_too_few_iterations_are_warned_about(study):
    found = attribute(study, method="cg", iterations=1, progress=False)
    assert any("not converged at stage 'only'" in warning for warning in found.report["warnings"])


def test_identity_is_the_plain_dot_product(study, objective):
    (training,) = [torch.cat([x for _, x in example_gradients(objective, study.stages[0].data, objective.all)])]
    (queries,) = [torch.cat([x for _, x in example_gradients(objective, study.queries, objective.all)])]
    found = attribute(study, method="identity", progress=False).values
    torch.testing.assert_close(torch.tensor(found), (queries @ training.T / 30).float())


def test_exact_refuses_large_models_by_name():
    examples = data(150, 100, 3, torch.Generator().manual_seed(0))
    study = Study("large", [Stage("large", nn.Linear(100, 100).double(), loss, examples)], examples)
    with pytest.raises(CurvatureError, match="'large' trains 10100 parameters; method 'exact' goes up to 8000"):
        attribute(study, method="exact", progress=False)


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_exact_solves_large_models_of_few_examples_by_their_rows(l2):
    """Woodbury against the dense matrix."""
    torch.manual_seed(0)
    examples = data(9, 20, 3, torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    (objective,) = objectives_of(Study("few", [Stage("few", model, loss, examples, l2=l2)], examples))
    solver = method_named("exact")(objective, damping=0.01)
    assert solver.report["rows"] == 9 * 2
    matrix = ggn(objective) + torch.diag(objective.ridge) + 0.01 * torch.eye(objective.trained.size)
    _, queries = next(example_gradients(objective, examples, objective.trained))
    torch.testing.assert_close(solver.solve(queries), torch.linalg.solve(matrix, queries.T).T)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "There is no method 'magic'; the methods are exact, cg, ekfac"),
        ({"curvature": "fisher"}, "There is no curvature 'fisher'; choose one of ggn, hessian"),
        ({"damping": -1.0}, "Damping is -1.0"),
        ({"method": "exact", "tolerance": 0.1}, "Method 'exact' has no option 'tolerance'; it has damping, curvature"),
        ({"tolerance": 2.0}, "tolerance is 2.0"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_wrong_options_are_named(study, options, message):
    with pytest.raises(MethodError, match=message.replace("(", r"\(")):
        attribute(study, progress=False, **options)


def test_every_method_says_what_it_costs_and_when_to_use_it():
    for name, method in METHODS.items():
        assert method.card.name == name
        assert all(
            isinstance(text, str) and len(text) > 20
            for text in (method.card.summary, method.card.cost, method.card.advice)
        )


@pytest.mark.parametrize("method", ["exact", "cg"])
def test_a_loss_that_is_not_convex_in_the_outputs_is_refused(method):
    def concave(outputs, batch):
        return -outputs.square().sum(1)

    g = torch.Generator().manual_seed(0)
    stage = Stage("concave", nn.Linear(3, 3).double(), concave, data(9, 3, 3, g))
    with pytest.raises(CurvatureError, match="'concave'"):
        attribute(Study("concave", [stage], stage.data), method=method, damping=1e-3, progress=False)
    with pytest.raises(CurvatureError, match="'concave'.*not convex in the model's outputs"):
        attribute(Study("concave", [stage], stage.data), method=method, progress=False)


def test_a_singular_matrix_is_refused_whatever_rounding_makes_of_it():
    for seed in range(6):
        g = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        stage = Stage("flat", nn.Linear(3, 2, bias=False).double(), loss, data(9, 3, 2, g))
        with pytest.raises(CurvatureError, match="'flat': the ggn has the eigenvalue"):
            attribute(Study("flat", [stage], stage.data), method="exact", damping=0.0, progress=False)


def test_conjugate_gradients_tell_a_singular_matrix_from_a_loss_that_is_not_convex():
    torch.manual_seed(0)
    model = nn.Linear(3, 2, bias=False).double()
    inputs = torch.randn(9, 3, dtype=torch.float64)
    stage = Stage("flat", model, loss, torch.utils.data.TensorDataset(inputs, torch.arange(9) % 2))
    (objective,) = objectives_of(Study("flat", [stage], stage.data))
    queries = torch.ones(1, 6, dtype=torch.float64)  # equal for both classes: no loss looks there
    with pytest.raises(CurvatureError, match="'flat'.*Use a larger damping, since without l2 and damping"):
        method_named("cg")(objective, damping=0.0).solve(queries)


def test_the_tolerance_holds_in_single_precision():
    """Rows in float32 of an ill-conditioned matrix: the residual that the iterations believe is not the true one."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 40, generator=generator) * torch.logspace(0, 2, 40)
    examples = torch.utils.data.TensorDataset(inputs, torch.randint(3, (200,), generator=generator))
    model = nn.Linear(40, 3)
    with torch.no_grad():
        model.weight.mul_(0.01)
    (objective,) = objectives_of(Study("steep", [Stage("steep", model, loss, examples)], examples))
    _, queries = next(example_gradients(objective, examples, objective.trained))
    solver = method_named("cg")(objective, damping=1e-3, tolerance=1e-4)
    solved = solver.solve(queries[:20]).double()
    matrix = ggn(objective) + 1e-3 * torch.eye(objective.trained.size)
    left = (queries[:20].double() - solved @ matrix).norm(dim=1) / queries[:20].double().norm(dim=1)
    assert max(solver.report["residuals"]) < 1e-4
    assert float(left.max()) < 2e-2  # of the solution rounded to float32, as the caller asked for
