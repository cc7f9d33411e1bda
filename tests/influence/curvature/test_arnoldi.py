"""The Krylov method against dense linear algebra, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from minima import data, loss
from random_stages import dense, gradients, objective_of, solved_densely, study_of
from torch import nn

from influence import Stage, Study, attribute
from influence.curvature import METHODS
from influence.curvature.arnoldi import Arnoldi
from influence.curvature.linear_algebra.lanczos import lanczos
from influence.derivatives.objective import objectives_of
from influence.derivatives.second.gauss_newton import ggn
from influence.errors import CurvatureError, MethodError


@pytest.mark.parametrize("curvature", ["ggn", "hessian"])
@pytest.mark.parametrize(
    ("setting", "damping"),
    [({"l2": 0.0}, 0.7), ({"l2": 0.6}, 0.0), ({"l2": 0.0, "proximity": 0.4}, 0.5), ({"frozen": ["first.*"]}, 0.6)],
)
def test_a_whole_basis_solves_exactly(setting, damping, curvature):
    objective = objective_of(**setting)
    queries = gradients(objective)  # and more of them than parameters, below
    queries = torch.cat([queries, queries.flip(0) ** 2, torch.zeros(1, queries.shape[1])])
    method = Arnoldi(objective, damping=damping, curvature=curvature)
    solved = method.solve(queries)
    torch.testing.assert_close(
        solved, solved_densely(dense(objective, curvature), damping, queries), rtol=1e-7, atol=1e-9
    )
    assert len(queries) > queries.shape[1]
    assert not solved[-1].any()
    assert max(method.report["residuals"]) < 1e-8
    assert method.report["ridge_in_basis"] == ("proximity" in setting)
    assert method.report["rank"] == queries.shape[1]


def test_rank_keeps_the_largest_eigenpairs_and_one_constant_for_the_rest():
    objective, damping = objective_of(width=5, batch_size=64), 0.3
    method = Arnoldi(objective, damping=damping, rank=6)
    matrix, queries = ggn(objective), gradients(objective)
    values, vectors = torch.linalg.eigh(matrix)
    torch.testing.assert_close(torch.tensor(method.report["eigenvalues"]).double(), values.flip(0)[:6])
    top = vectors[:, -6:]
    outside = torch.eye(len(matrix)).double() - top @ top.T
    constant = 1 / (method.report["curvature_outside"] + damping + 0.05)
    expected = queries @ (top @ torch.diag(1 / (values[-6:] + damping + 0.05)) @ top.T + constant * outside)
    torch.testing.assert_close(method.solve(queries), expected)
    rest = values[:-6]
    assert 0.6 < method.report["curvature_outside"] / (rest.square().sum() / rest.sum()) < 1.6
    measured = queries - method.solve(queries) @ (matrix + (damping + 0.05) * torch.eye(len(matrix)).double())
    torch.testing.assert_close(
        torch.tensor(method.report["residuals"]).double(), measured.norm(dim=1) / queries.norm(dim=1)
    )


def test_more_products_come_closer_to_exact_and_the_constant_beats_dropping_the_rest():
    objective = objective_of(width=12, l2=0.01, batch_size=64)
    queries = gradients(objective)
    exact = solved_densely(dense(objective), 0.0, queries) @ queries.T
    errors = []
    for iterations in (8, 16, 32):
        method = Arnoldi(objective, iterations=iterations)
        found = method.solve(queries) @ queries.T
        dropped = (queries @ method.vectors.T / (method.values + 0.01)) @ method.vectors @ queries.T
        errors.append(float((found - exact).norm() / exact.norm()))
        assert errors[-1] < 0.8 * float((dropped - exact).norm() / exact.norm())
        assert method.report["products"] == iterations + 8
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1


def test_linear_in_the_query_and_the_same_every_time():
    objective = objective_of(width=5)
    queries = gradients(objective)
    first, second = (Arnoldi(objective, iterations=10) for _ in range(2))
    together = first.solve(queries)
    assert torch.equal(together, second.solve(queries))
    torch.testing.assert_close(first.solve(2 * queries[:1] - queries[1:2])[0], 2 * together[0] - together[1])
    other = Arnoldi(objective, iterations=10, seed=1).solve(queries)
    assert not torch.allclose(other, together)


def test_lanczos_finds_repeated_eigenvalues_and_the_null_space():
    g = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(12, 12, generator=g, dtype=torch.float64))[0]
    spectrum = torch.tensor([5.0, 5, 5, 2, 2, 0, 0, 0, 0, 0, 0, -1], dtype=torch.float64)
    matrix = basis @ torch.diag(spectrum) @ basis.T
    values, vectors = lanczos(lambda rows: rows @ matrix, 12, 50, g)
    torch.testing.assert_close(values, spectrum.sort().values)
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(12).double())
    torch.testing.assert_close(vectors.T @ torch.diag(values) @ vectors, matrix)


def test_lanczos_finds_eigenvalues_of_many_orders_of_magnitude():
    g = torch.Generator().manual_seed(0)
    spectrum = torch.tensor([1e9, 3e6, 130, 0.05, 0.01, 1e-3, 1e-3], dtype=torch.float64)
    axes = torch.linalg.qr(torch.randn(7, 7, generator=g, dtype=torch.float64))[0]
    values, vectors = lanczos(lambda rows: ((rows @ axes) * spectrum) @ axes.T, 7, 50, g)
    torch.testing.assert_close(values, spectrum.sort().values, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(7).double())


@pytest.mark.parametrize("damping", [0.0, 0.01])
def test_an_indefinite_hessian_is_refused_with_the_damping_that_it_needs(damping):
    objective = objective_of(l2=0.0)
    smallest = float(torch.linalg.eigvalsh(dense(objective, "hessian"))[0])
    assert smallest < -damping
    with pytest.raises(CurvatureError, match="'finetune': the hessian has the eigenvalue -") as error:
        Arnoldi(objective, damping=damping, curvature="hessian")
    needed = float(str(error.value).split("Use damping=")[1].split(" ")[0])
    assert -smallest < needed < -2 * smallest
    assert 0 < Arnoldi(objective, damping=needed, curvature="hessian").report["negative_share"] < 0.5


def test_a_singular_curvature_is_refused():
    with pytest.raises(CurvatureError, match="'finetune': the ggn has the eigenvalue"):
        Arnoldi(objective_of(l2=0.0), damping=0.0)


def test_single_precision_models_are_solved_to_single_precision():
    torch.manual_seed(0)
    stage = Stage(
        "single", nn.Linear(3, 3), loss, [(x.float(), y) for x, y in data(20, 3, 3, torch.Generator())], l2=0.1
    )
    objective = objectives_of(Study("single", [stage], stage.data))[0]
    queries = gradients(objective)
    solved = Arnoldi(objective).solve(queries)
    assert solved.dtype == torch.float32
    expected = solved_densely(dense(objective), 0.0, queries.double()).float()
    torch.testing.assert_close(solved, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_scores_of_both_stages_are_those_of_exact(monkeypatch, stage):
    monkeypatch.setitem(METHODS, "arnoldi", Arnoldi)
    study = study_of(l2=0.05, frozen=["first.*"], proximity=0.2)
    found, exact = (attribute(study, stage=stage, method=m, damping=0.05, progress=False) for m in ("arnoldi", "exact"))
    torch.testing.assert_close(torch.tensor(found.values), torch.tensor(exact.values), rtol=1e-4, atol=1e-6)
    rough = attribute(study, stage=stage, method="arnoldi", iterations=2, progress=False)
    assert any("are not converged at stage" in warning for warning in rough.report["warnings"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations is 0"),
        ({"rank": 0}, "rank is 0, expected 1 to `iterations` .200."),
        ({"rank": 30, "iterations": 20}, "rank is 30, expected 1 to `iterations` .20."),
        ({"curvature": "fisher"}, "There is no curvature 'fisher'"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(MethodError, match=message):
        Arnoldi(objective_of(), **options)
