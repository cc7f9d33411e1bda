"""The stochastic series against dense linear algebra, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from minima import Net, loss
from random_stages import dense, gradients, objective_of, solved_densely, study_of

from influence import Stage, attribute
from influence.curvature import METHODS
from influence.curvature.lissa import Lissa
from influence.derivatives import Objective
from influence.derivatives.objective import restricted
from influence.derivatives.second.gauss_newton import ggn
from influence.derivatives.second.hessian import hessian
from influence.errors import CurvatureError, MethodError

SETTINGS = [
    ({"l2": 0.0}, 0.7),
    ({"l2": 0.6}, 0.0),
    ({"l2": 0.0, "proximity": 0.4}, 0.5),
    ({"frozen": ["first.*"]}, 0.6),
]


@pytest.mark.parametrize("curvature", ["ggn", "hessian"])
@pytest.mark.parametrize(("setting", "damping"), SETTINGS)
def test_on_whole_data_the_series_is_the_solution(setting, damping, curvature):
    objective = objective_of(**setting)
    queries = gradients(objective)
    queries = torch.cat([queries[:5], torch.zeros(1, queries.shape[1])])
    method = Lissa(objective, damping=damping, curvature=curvature, batch=30, depth=100)
    solved = method.solve(queries)
    expected = solved_densely(dense(objective, curvature), damping, queries)
    torch.testing.assert_close(solved, expected, rtol=1e-3, atol=1e-4)
    assert max(method.report["residuals"]) < 1e-3
    assert not solved[-1].any()


@pytest.mark.parametrize(("setting", "damping"), SETTINGS)
def test_minibatches_come_near_the_solution_and_the_residuals_are_true(setting, damping):
    objective = objective_of(**setting)
    queries = gradients(objective)[:5]
    method = Lissa(objective, damping=damping, batch=10, depth=100)
    solved, matrix = method.solve(queries), dense(objective)
    expected = solved_densely(matrix, damping, queries)
    assert (solved - expected).norm() < 0.05 * expected.norm()
    rest = queries - solved @ (matrix + damping * torch.eye(len(matrix)).double())
    torch.testing.assert_close(
        torch.tensor(method.report["residuals"]).double(), rest.norm(dim=1) / queries.norm(dim=1)
    )


def test_depth_and_repeats_reduce_the_error():
    objective = objective_of(l2=0.05)
    queries = gradients(objective)[:5]
    expected = solved_densely(dense(objective), 0.0, queries)

    def error(**options) -> float:
        return float((Lissa(objective, batch=5, **options).solve(queries) - expected).norm() / expected.norm())

    rough, repeated, deep = error(depth=40), error(depth=40, repeats=3), error(depth=400)
    assert deep < 0.5 * rough
    assert repeated < 1.1 * rough
    assert Lissa(objective).report["depth"] == Lissa(objective).report["depth_wanted"] > 50


def test_linear_in_the_query_the_same_every_time_and_alone_as_together():
    objective = objective_of()
    queries = gradients(objective)
    method = Lissa(objective, batch=8, depth=30)
    together = method.solve(queries[:8])
    assert torch.equal(together, method.solve(queries[:8]))
    torch.testing.assert_close(method.solve(queries[3:4])[0], together[3])
    torch.testing.assert_close(method.solve(2 * queries[:1] - queries[1:2])[0], 2 * together[0] - together[1])
    assert len(queries) + 20 > queries.shape[1]
    many = method.solve(torch.cat([queries, queries]))
    torch.testing.assert_close(many[:8], together)
    assert len(many) > queries.shape[1]
    assert len(method.report["residuals"]) == len(many)
    other = Lissa(objective, batch=8, depth=30, seed=1).solve(queries[:8])
    assert not torch.allclose(other, together)


def test_a_scale_that_is_too_small_diverges_and_the_error_says_what_to_set():
    objective = objective_of()
    queries = gradients(objective)[:3]
    picked = Lissa(objective).scale
    method = Lissa(objective, scale=picked / 5, depth=400)
    with pytest.raises(
        CurvatureError, match="'finetune': the series of 'lissa' diverged at step .* Set scale="
    ) as error:
        method.solve(queries)
    needed = float(str(error.value).split("Set scale=")[1].split(" ")[0])
    assert needed == pytest.approx(2 * picked / 5, rel=0.1)
    Lissa(objective, scale=2 * needed, depth=100).solve(queries)


def test_what_has_no_inverse_is_refused():
    objective = objective_of(l2=0.0)
    with pytest.raises(CurvatureError, match="'finetune': the ggn has the eigenvalue 0, .*Use damping="):
        Lissa(objective, damping=0.0)
    with pytest.raises(CurvatureError, match="'finetune': the hessian has the eigenvalue -") as refused:
        Lissa(objective, damping=0.0, curvature="hessian")
    needed = float(str(refused.value).split("Use damping=")[1].split(" ")[0])
    method = Lissa(objective, damping=4 * needed, curvature="hessian", batch=30)
    method.solve(gradients(objective)[:3])
    assert max(method.report["residuals"]) < 0.1


def test_restricted_to_some_examples_is_the_objective_of_those():
    objective = objective_of(proximity=0.3)
    positions = [29, 3, 4, 17, 11, 12, 0, 8]
    part = restricted(objective, positions)
    stage = objective.stage
    some = torch.utils.data.TensorDataset(*(t[positions] for t in stage.data.tensors))
    model = Net(3)
    model.load_state_dict(stage.model.state_dict())
    alone = Objective(Stage("finetune", model, loss, some, l2=0.05, proximity=0.3), objective.groups)
    for matrix in (ggn, hessian):
        torch.testing.assert_close(matrix(part), matrix(alone))
    torch.testing.assert_close(part.ridge, alone.ridge)
    assert len(objective.stage.data) == 30
    assert objective.count == 30


def test_scores_come_near_exact_and_a_rough_series_is_warned_about(monkeypatch):
    monkeypatch.setitem(METHODS, "lissa", Lissa)
    study = study_of(l2=0.1, frozen=["first.*"], proximity=0.2)
    for stage in ("pretrain", "finetune"):
        found = attribute(study, stage=stage, method="lissa", progress=False)
        exact = attribute(study, stage=stage, method="exact", progress=False).values
        assert ((found.values - exact) ** 2).sum() < 0.1**2 * (exact**2).sum()
    rough = attribute(study, method="lissa", depth=1, progress=False)
    assert any("are not converged at stage 'pretrain'" in warning for warning in rough.report["warnings"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth is 0"),
        ({"repeats": 0}, "repeats is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"scale": float("nan")}, "scale is nan"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(MethodError, match=message):
        Lissa(objective_of(), **options)


def test_a_minibatch_larger_than_the_data_is_the_data():
    assert Lissa(objective_of(), batch=1000).report["batch"] == 30
