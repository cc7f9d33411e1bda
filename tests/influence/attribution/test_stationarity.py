"""How far a stage is from its minimum, and what its gradient says was minimised, against models that were trained."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from minima import Net, close, data, loss, minimise_chain
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

import influence.attribution.stationarity as stationarity
from influence import Stage, Study, attribute
from influence.attribution.misstatement import _l2_line, inherits_line
from influence.derivatives.objective import objectives_of
from influence.errors import StudyError
from influence.study.parameters import l2_of

BODY = {name: name for name in ("first.weight", "first.bias", "second.weight", "second.bias")}
MEASURED = {"newton_change", "typical_score"}


def two_stages(seed: int, classes: int, **finetuning) -> tuple[list[Stage], TensorDataset]:
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    stages = [
        Stage("pretrain", Net(3), loss, data(24, 3, 3, g), l2=0.02),
        Stage("finetune", Net(classes), loss, data(18, 3, classes, g), **{"l2": 0.02, **finetuning}),
    ]
    return stages, data(4, 3, classes, g)


def restated(stages: list[Stage], **changes) -> list[Stage]:
    """The last stage as trained, with another statement of what was minimised."""
    last = copy.copy(stages[-1])
    for name, value in changes.items():
        setattr(last, name, value)
    return [*stages[:-1], last]


def scored(stages: list[Stage], queries, **options):
    options = {"method": "exact", "curvature": "hessian", "damping": 0.0, "progress": False, **options}
    return attribute(Study("s", stages, queries), **options)


def distance(scores) -> list[str]:
    return [warning for warning in scores.report["warnings"] if "does not stand at a minimum" in warning]


def error_to_retraining(stages: list[Stage], queries, found: np.ndarray, step: float = 1e-4) -> float:
    """Of two examples' scores of the first stage, to finite differences of both stages trained again."""
    errors, x, y = [], *queries.tensors
    for example in (0, 7):
        sides = []
        for sign in (1, -1):
            weights = torch.ones(len(stages[0].data), dtype=torch.float64)
            weights[example] += sign * step
            again = minimise_chain(stages, {"pretrain": weights})
            sides.append(loss(again[-1].model(x), [x, y]).detach())
        measured = (-(sides[0] - sides[1]) / (2 * step)).numpy()
        errors.append(np.linalg.norm(found[:, example] - measured) / np.linalg.norm(measured))
    return max(errors)


# A head begun anew


@pytest.mark.parametrize("frozen", [[], ["first.*", "second.*"]], ids=["body trained on", "body frozen"])
def test_a_head_begun_anew_that_counts_as_inherited_is_refused_with_the_right_line(frozen, monkeypatch):
    stages, queries = two_stages(0, 3, inherits=BODY, proximity=0.1, frozen=frozen)
    stages = minimise_chain(stages)
    wrong = restated(stages, inherits=None)
    with pytest.raises(StudyError) as error:
        scored(wrong, queries)
    assert "head.weight and head.bias count as inherited" in str(error.value)
    line = str(error.value).split("so state ")[1].removesuffix(".")
    right = restated(stages, **eval(f"dict({line})"))
    scores = scored(right, queries)
    assert scores.report["warnings"] == []
    assert error_to_retraining(right, queries, scores.values) < 1e-3
    monkeypatch.setattr(stationarity, "refuse_heads_begun_anew", lambda *_: None)
    assert error_to_retraining(right, queries, scored(wrong, queries).values) > 0.1


def test_every_method_and_stage_refuses_it():
    stages, queries = two_stages(1, 3, inherits=BODY, proximity=0.01)
    wrong = restated(minimise_chain(stages), inherits=None)
    for options in ({"method": "identity"}, {"method": "cg"}, {"stage": "finetune"}):
        with pytest.raises(StudyError, match="They were begun anew"):
            scored(wrong, queries, curvature="ggn", damping=None, **options)


def test_a_head_begun_anew_that_nothing_pulls_is_as_good_as_new():
    stages, queries = two_stages(0, 3, inherits=BODY, frozen=["first.*"])
    stages = minimise_chain(stages)
    one, other = (scored(restated(stages, inherits=inherits), queries) for inherits in (None, BODY))
    close(one.values, other.values)


def test_a_frozen_head_begun_anew_is_told_with_the_right_line():
    stages, queries = two_stages(0, 3, proximity=0.1)
    stages[1].frozen = ["head.*"]
    (warning,) = [w for w in scored(stages, queries, curvature="ggn").report["warnings"] if "in `frozen` differ" in w]
    assert f"If they were begun anew, state inherits={BODY}." in warning


@pytest.mark.parametrize("seed", range(4))
def test_a_study_far_from_every_minimum_is_told_but_not_refused(seed):
    stages, queries = two_stages(seed, 3, proximity=0.1)
    scores = scored(stages, queries, curvature="ggn")
    assert [warning.split("'")[1] for warning in distance(scores)] == ["pretrain", "finetune"]
    assert "training that ended early" in distance(scores)[0]


@pytest.mark.parametrize("seed", range(3))
def test_a_head_begun_anew_is_told_near_the_minimum(seed):
    stages, queries = two_stages(seed, 3, inherits=BODY, proximity=0.1)
    stages = minimise_chain(stages)
    with torch.no_grad():
        for name, p in stages[1].model.named_parameters():
            p += 0.01 * torch.randn(p.shape, generator=torch.Generator().manual_seed(len(name)), dtype=p.dtype)
    try:
        told = distance(scored(restated(stages, inherits=None), queries, curvature="ggn"))[-1]
    except StudyError as error:
        told = str(error)
    assert f"inherits={BODY}" in told


# Another objective


def smoothed_stage() -> Stage:
    stage = two_stages(2, 3)[0][0]
    x, y = stage.data.tensors
    parameters = list(stage.model.parameters())

    def value():
        l2 = sum(p.square().sum() for p in parameters)
        return cross_entropy(stage.model(x), y, label_smoothing=0.1) + stage.l2 / 2 * l2

    descend(value, parameters)
    return stage


def descend(value, parameters, **options):
    settings = {"max_iter": 2000, "tolerance_grad": 1e-10, "tolerance_change": 0, "line_search_fn": "strong_wolfe"}
    optimiser = torch.optim.LBFGS(parameters, **{**settings, **options})

    def closure():
        optimiser.zero_grad()
        found = value()
        found.backward()
        return found

    optimiser.step(closure)


CASES = {
    "decay on weights only": ({"l2": {"*.weight": 0.02}}, {"l2": 0.02}, "l2={'*.weight': 0.02}"),
    "decay that is not stated": ({"l2": {"*.weight": 0.02}}, {"l2": 0}, "l2={'*.weight': 0.02}"),
    "half the decay": ({}, {"l2": 0.04}, "l2=0.02"),
    "a head with more": (
        {"l2": {"head.*": 0.1, "*": 0.02}},
        {"l2": 0.02},
        "l2={'head.weight': 0.1, '*.weight': 0.02, 'he",
    ),
    "half the proximity": ({}, {"proximity": 0.1}, "proximity=0.05"),
    "no proximity": ({"proximity": 0}, {"proximity": 0.1}, "proximity=0"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_minimised_is_read_from_the_gradient(case):
    trained, stated, line = CASES[case]
    stages, queries = two_stages(0, 2, **{"proximity": 0.05, **trained})
    stages = minimise_chain(stages)
    assert distance(scored(stages, queries, curvature="ggn", damping=1e-3)) == []
    (warning,) = distance(scored(restated(stages, **stated), queries, curvature="ggn", damping=1e-3))
    assert warning.startswith("Stage 'finetune' does not stand at a minimum")
    assert line in warning


def test_scores_of_decay_on_weights_only_are_right_once_it_is_stated():
    stages, queries = two_stages(0, 2, proximity=0.1, l2={"*.weight": 0.2})
    stages = minimise_chain(stages)
    right, wrong = (scored(each, queries, damping=1e-6) for each in (stages, restated(stages, l2=0.2)))
    assert error_to_retraining(stages, queries, right.values) < 1e-3
    assert error_to_retraining(stages, queries, wrong.values) > 0.03


def test_smoothed_labels_are_read_from_the_gradient():
    stage = smoothed_stage()
    (warning,) = distance(scored([stage], stage.data, curvature="ggn"))
    assert "state the loss with label_smoothing=0.1" in warning
    right = Stage("smooth", stage.model, lambda o, b: cross_entropy(o, b[1], reduction="none", label_smoothing=0.1),
                  stage.data, l2=stage.l2)  # fmt: skip
    assert distance(scored([right], stage.data, curvature="ggn")) == []


def test_layers_that_training_mode_changes_are_named():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 3)).double()
    examples = data(30, 3, 3, torch.Generator().manual_seed(0))
    (warning,) = distance(scored([Stage("only", model, loss, examples, l2=0.1)], examples, curvature="ggn"))
    assert "dropout, which was on while it trained or batch normalisation by each batch's own statistics" in warning


@pytest.mark.parametrize("found", [
    {"a.weight": 0.1, "a.bias": 0.0, "weight": 0.2},
    {"body.0.weight": 0.1, "body.0.bias": 0.0, "body.1.weight": 0.0, "body.1.bias": 0.0, "head.weight": 0.1},
    {"layers.0.norm.weight": 0.0, "layers.1.norm.weight": 0.0, "layers.0.mix.weight": 0.1, "layers.1.mix.weight": 0.1,
     "layers.2.mix.weight": 0.1, "head.weight": 0.3, "head.bias": 0.0},
])  # fmt: skip
def test_a_line_of_l2_says_what_was_found(found):
    model = nn.Module()
    for name in found:
        place, (*path, last) = model, name.split(".")
        for part in path:
            if not hasattr(place, part):
                place.add_module(part, nn.Module())
            place = getattr(place, part)
        place.register_parameter(last, nn.Parameter(torch.zeros(1)))
    stage = Stage("only", model, loss, [0], l2=eval(_l2_line(found)))
    assert l2_of(stage) == found


def test_a_line_of_many_inherited_parameters_is_a_rule():
    torch.manual_seed(0)
    body = [nn.Linear(3, 3) for _ in range(6)]
    model = nn.Sequential(*body, nn.Linear(3, 2))
    (objective,) = objectives_of(Study("s", [Stage("only", model, loss, [0])], [0]))
    pairs = {n: n for n in objective.all.shapes if not n.startswith("6.")}
    line = inherits_line(pairs, objective)
    assert len(line) < 100
    assert eval(f"dict({line})", {"model": model}) == {"inherits": pairs}


# How far


@pytest.mark.parametrize("method", ["exact", "cg", "arnoldi"])
def test_a_newton_step_is_that_of_dense_matrices(method):
    """Softmax regression at some point: the Gauss-Newton matrix is the Hessian."""
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    model, examples, queries = nn.Linear(3, 3).double(), data(30, 3, 3, g), data(5, 3, 3, g)
    scores = scored([Stage("only", model, loss, examples, l2=0.1)], queries, method=method, curvature="ggn")
    point = torch.cat([p.detach().flatten() for p in model.parameters()])

    def losses(vector, x, y):
        return cross_entropy(x @ vector[:9].view(3, 3).T + vector[9:], y, reduction="none")

    def objective(vector):
        return losses(vector, *examples.tensors).mean() + 0.05 * vector.square().sum()

    slope, hessian = torch.func.grad(objective)(point), torch.func.hessian(objective)(point)
    rows, asked = (torch.func.jacrev(losses)(point, *each.tensors) for each in (examples, queries))
    solved = torch.linalg.solve(hessian, asked.T).T
    (told,) = scores.report["stages"]
    assert told["gradient_norm"] == pytest.approx(float(slope.norm()))
    assert told["newton_change"] == pytest.approx(float((solved @ slope).square().mean().sqrt()), rel=1e-4)
    assert told["typical_score"] == pytest.approx(float((solved @ rows.T / 30).square().mean().sqrt()), rel=1e-4)
    if method != "exact":
        assert len(told["residuals"]) == len(queries)


def test_methods_without_curvature_take_no_step():
    stages, queries = two_stages(0, 2, proximity=0.1)
    scores = scored(stages, queries, method="identity", curvature="ggn")
    assert distance(scores) == []
    assert not MEASURED & scores.report["stages"][0].keys()


def test_nothing_is_solved_or_told_at_a_minimum():
    stages, queries = two_stages(0, 2, proximity=0.1)
    scores = scored(minimise_chain(stages), queries)
    assert scores.report["warnings"] == []
    assert not any(MEASURED & stage.keys() for stage in scores.report["stages"])


@pytest.mark.parametrize("tolerance", [1e-5, 1e-4])
@pytest.mark.parametrize("method", ["exact", "cg", "ekfac"])
def test_nothing_is_told_at_a_minimum_in_single_precision(method, tolerance):
    torch.manual_seed(0)
    examples = data(200, 3, 3, torch.Generator().manual_seed(0))
    examples = TensorDataset(examples.tensors[0].float(), examples.tensors[1])
    model = Net(3).float()
    parameters = list(model.parameters())
    descend(
        lambda: (
            loss(model(examples.tensors[0]), examples.tensors).mean() + 5e-3 * sum(p.square().sum() for p in parameters)
        ),
        parameters,
        tolerance_grad=tolerance,
    )
    scores = scored([Stage("only", model, loss, examples, l2=0.01)], examples, method=method, curvature="ggn")
    assert 1e-7 < scores.report["stages"][0]["gradient_norm"] < 1e-3
    assert scores.report["warnings"] == []
