"""Sets of examples left out at once: predicted against closed forms and real retraining."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from minima import Net, data, loss, minimise_chain
from random_stages import study_of
from small_digits import trained_study
from torch import nn
from torch.utils.data import ConcatDataset, TensorDataset

from influence import Stage, Study, attribute
from influence.attribution.edits.effect import EditEffect, group_effect
from influence.attribution.edits.minima import Path
from influence.curvature import METHODS
from influence.curvature.arnoldi import Arnoldi
from influence.curvature.lissa import Lissa
from influence.errors import CurvatureError, MethodError, StudyError
from influence.training.retraining import Retrainer


def effect(study: Study, stage: str | None, examples, **options) -> EditEffect:
    return group_effect(study, stage, examples, **{"method": "exact", "progress": False, **options})


def error(predicted: np.ndarray, measured: np.ndarray) -> float:
    return float(np.linalg.norm(predicted - measured) / np.linalg.norm(measured))


# A quadratic objective with a measure that is linear in the parameters: all is known in closed form.


def squares(outputs, batch):
    return (outputs[:, 0] - batch[1]).square() / 2


def regression(l2: float = 0.1, copies: int = 1, measure=lambda outputs, batch: outputs[:, 0]) -> Study:
    """Forty examples, of which the first five stand there `copies` times."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 4, generator=g, dtype=torch.float64), torch.randn(40, generator=g, dtype=torch.float64)
    x, y = torch.cat([x[:5]] * copies + [x[5:]]), torch.cat([y[:5]] * copies + [y[5:]])
    model = nn.Linear(4, 1, bias=False).double()
    model.weight.data = ridge(x, y, torch.ones(len(x)).double(), l2)[None]
    queries = TensorDataset(torch.randn(6, 4, generator=g, dtype=torch.float64), torch.zeros(6).double())
    return Study("ridge", [Stage("only", model, squares, TensorDataset(x, y), l2=l2)], queries, measure)


def ridge(x, y, weights, l2):
    return torch.linalg.solve((x.T * weights) @ x / len(x) + l2 * torch.eye(4).double(), (x.T * weights) @ y / len(x))


def measured_without(study: Study, examples) -> np.ndarray:
    stage, queries = study.stages[0], study.queries
    weights = torch.ones(len(stage.data)).double()
    weights[list(examples)] = 0
    model = nn.Linear(4, 1, bias=False).double()
    model.weight.data = ridge(*stage.data.tensors, weights, stage.l2)[None]
    with torch.no_grad():
        before, after = (study.measure(m(queries.tensors[0]), queries.tensors) for m in (stage.model, model))
    return (after - before).numpy()


@pytest.mark.parametrize("curvature", ["ggn", "hessian"])
def test_each_order_falls_with_its_power_of_the_groups_weight(curvature):
    """Of four copies of an example, leaving out one is leaving out a quarter of its weight."""
    study = regression(copies=4)
    errors = {1: [], 2: [], 3: []}
    for copies in (4, 2, 1):
        group = range(5 * copies)
        measured = measured_without(study, group)
        for order in errors:
            found = effect(study, None, group, curvature=curvature, second_order=order > 1, steps=max(1, order - 1))
            errors[order].append(float(np.linalg.norm(found.total - measured)))
    for order, (whole, half, quarter) in errors.items():
        assert half / quarter == pytest.approx(2 ** (order + 1), rel=0.25)
        assert whole / half > 2**order
    assert errors[3][0] < errors[2][0] < errors[1][0]


def test_many_steps_are_newtons_whole_step():
    study, group = regression(), [3, 8, 20, 21, 30]
    for curvature in ("ggn", "hessian"):
        found = effect(study, None, group, curvature=curvature, steps=60)
        np.testing.assert_allclose(found.total, measured_without(study, group), rtol=1e-9, atol=1e-12)
        assert not found.report["warnings"]


def test_the_measures_own_curvature_counts():
    study, group = regression(measure=squares), [3, 8, 20, 21, 30]
    measured = measured_without(study, group)
    for curvature in ("ggn", "hessian"):
        found = effect(study, None, group, curvature=curvature, steps=60)
        np.testing.assert_allclose(found.total, measured, rtol=1e-9, atol=1e-12)


def test_second_order_is_the_formula_of_the_paper():
    study, group = regression(), [0, 7, 9]
    x, y = study.stages[0].data.tensors
    theta = study.stages[0].model.weight.detach()[0]
    inverse = torch.linalg.inv(x.T @ x / 40 + (0.1 + 0.05) * torch.eye(4).double())
    members = x[group]
    force = (members.T @ (members @ theta - y[group])) / 40
    expected = study.queries.tensors[0] @ inverse @ (members.T @ members / 40) @ inverse @ force
    found = effect(study, None, group, damping=0.05)
    np.testing.assert_allclose(found.second, expected.numpy(), rtol=1e-9)
    np.testing.assert_allclose(found.first, (study.queries.tensors[0] @ inverse @ force).numpy(), rtol=1e-9)
    np.testing.assert_array_equal(found.total, found.first + found.second)


# Two stages of a smooth network, retrained by an optimiser that shares no code with the library's.


@pytest.mark.parametrize("finetuning", [{"frozen": ["first.*"]}, {"proximity": 0.3}])
@pytest.mark.parametrize("name", ["pretrain", "finetune"])
def test_through_all_stages_the_error_falls_with_the_cube(finetuning, name):
    g = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    sizes = {"pretrain": 2, "finetune": 3}
    examples = {stage: data(30, 3, classes, g).tensors for stage, classes in sizes.items()}
    copied = {
        stage: TensorDataset(*(torch.cat([t[:2]] * 4 + [t[2:]]) for t in tensors))
        for stage, tensors in examples.items()
    }
    stages = [
        Stage("pretrain", Net(2), loss, copied["pretrain"], l2=0.1),
        Stage("finetune", Net(3), loss, copied["finetune"], l2=0.1, **finetuning),
    ]
    stages = minimise_chain(stages)
    study = Study("smooth", stages, data(7, 3, 3, g))
    x, y = study.queries.tensors
    before = loss(stages[-1].model(x), [x, y]).detach()
    firsts, seconds = [], []
    for copies in (2, 1):
        weights = torch.ones(36).double()
        weights[: 2 * copies] = 0
        after = minimise_chain(stages, {name: weights})[-1].model
        measured = (loss(after(x), [x, y]).detach() - before).numpy()
        found = effect(study, name, range(2 * copies), curvature="hessian")
        firsts.append(np.linalg.norm(found.first - measured))
        seconds.append(np.linalg.norm(found.total - measured))
    assert 3 < firsts[0] / firsts[1] < 5.5
    assert seconds[0] / seconds[1] > 6
    assert seconds[0] < 0.5 * firsts[0]


@pytest.fixture(scope="module", params=["frozen", "updated"])
def digits(request):
    return trained_study(request.param)


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_the_second_order_is_closer_to_retraining_than_the_first(digits, stage):
    retrainer = Retrainer(digits)
    base = retrainer.losses_without(stage, [])
    labels = digits.stages[digits.position(stage)].data.tensors[1].numpy()
    generator = np.random.default_rng(0)
    groups = [generator.choice(len(labels), len(labels) * share // 100, replace=False) for share in (5, 15, 30)]
    groups.append(np.flatnonzero(labels == 1)[::2])
    for group in groups:
        measured = (retrainer.losses_without(stage, group.tolist()) - base).numpy()
        found = effect(digits, stage, group, curvature="hessian")
        deep = effect(digits, stage, group, curvature="hessian", steps=4)
        assert error(found.total, measured) < 0.75 * error(found.first, measured)
        assert error(deep.total, measured) < 0.2 * error(found.first, measured)
        assert not found.report["warnings"]
        if stage == "finetune":
            found = effect(digits, stage, group)
            assert error(found.total, measured) < 0.7 * error(found.first, measured)


def test_a_whole_class_is_warned_about_where_the_steps_lead_away(digits):
    group = (digits.stages[0].data.tensors[1] == 1).nonzero().flatten().tolist()
    found = effect(digits, "pretrain", group, curvature="hessian", steps=6)
    assert any(
        "Stage 'pretrain': the steps beyond the first order do not converge" in w for w in found.report["warnings"]
    )
    assert np.isfinite(found.total).all()


@pytest.mark.parametrize("method", ["cg", "exact", "identity"])
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_the_first_order_is_the_sum_of_the_scores_by_any_method(method, stage):
    study, group = study_of(proximity=0.2), [5, 2, 25, 17]
    for options in ({"method": method}, {"method": method, "curvature": "hessian", "damping": 2.0}):
        scores = attribute(study, stage=stage, progress=False, **options).values
        found = effect(study, stage, group, second_order=False, **options)
        np.testing.assert_allclose(found.first, scores[:, group].sum(1), rtol=1e-4, atol=1e-6)
        assert not found.second.any()


@pytest.mark.parametrize("curvature", ["ggn", "hessian"])
def test_every_method_agrees_and_the_study_is_not_touched(monkeypatch, curvature):
    monkeypatch.setitem(METHODS, "arnoldi", Arnoldi)
    monkeypatch.setitem(METHODS, "lissa", Lissa)
    study = study_of(proximity=0.2)
    before = [p.detach().clone() for stage in study.stages for p in stage.model.parameters()]
    options = {"damping": 2.0, "curvature": curvature, "batch_size": 16}
    exact = effect(study, "pretrain", range(8), **options)
    close = {"cg": {}, "arnoldi": {}, "lissa": {"batch": 30, "depth": 25}}
    for method, more in close.items():
        found = effect(study, "pretrain", range(8), method=method, **options, **more)
        np.testing.assert_allclose(found.total, exact.total, rtol=1e-3, atol=1e-5)
    after = [p for stage in study.stages for p in stage.model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert [len(stage.data) for stage in study.stages] == [30, 30]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ([], "'only': rows is empty"),
        ([1, 2, 1, 2, 3], "'only': rows names 1, 2 more than once"),
        ([0, 40, 41], "'only' has no example 40, 41; its examples are 0 to 39"),
        ([-1], "'only': rows holds -1, expected positions"),
        ([0.5], "'only': rows holds 0.5, expected positions"),
        ([True], "'only': rows holds True"),
        (range(40), "all 40 examples of stage 'only'"),
    ],
)
def test_bad_groups_are_named(group, message):
    with pytest.raises(StudyError, match=message):
        effect(regression(), "only", group)


def test_other_bad_input_is_named():
    with pytest.raises(StudyError, match="no stage 'other'"):
        effect(regression(), "other", [0])
    with pytest.raises(MethodError, match="steps is 0"):
        effect(regression(), None, [0], steps=0)
    with pytest.raises(MethodError, match="'identity' has no curvature"):
        effect(regression(), None, [0], method="identity")
    with pytest.raises(MethodError, match="no option 'newton'"):
        effect(regression(), None, [0], newton=True)
    with pytest.raises(CurvatureError, match="'pretrain': the hessian"):
        effect(study_of(), None, [0], curvature="hessian", damping=0.0)


def test_examples_of_any_map_style_data_set_can_be_left_out():
    study = regression()
    stage = study.stages[0]
    listed = ConcatDataset([[stage.data[i]] for i in range(40)])
    other = Study("listed", [Stage("only", stage.model, squares, listed, l2=0.1)], study.queries, study.measure)
    np.testing.assert_allclose(effect(other, None, [1, 30]).total, effect(study, None, [1, 30]).total)


class Position(nn.Module):
    """One number, whatever the example."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x):
        return self.w.expand(len(x), 1)


def slope_with_a_shelf(outputs, batch):
    """Of examples 0 a polynomial that falls from 0 to 2, hardly at 1; of examples 1 a line that holds it at 0."""
    w = outputs[:, 0]
    falls = w**4 / 4 - 4 * w**3 / 3 + 5.05 * w**2 / 2 - 2.1 * w  # its slope is (w - 2) ((w - 1)^2 + 0.05)
    return torch.where(batch[0][:, 0] == 0, falls, 2.1 * w)


def test_steps_go_on_over_a_shelf_of_the_edited_objective():
    examples, query = (TensorDataset(torch.tensor(rows, dtype=torch.float64)) for rows in ([[0.0], [1.0]], [[1.0]]))
    stage = Stage("shelf", Position(), slope_with_a_shelf, examples, forward=lambda model, batch: model(batch[0]))
    study = Study("shelf", [stage], query)
    options = {"method": "exact", "curvature": "hessian", "damping": 0.0, "progress": False}
    arrived = group_effect(study, None, [1], steps=30, **options)
    assert arrived.total == pytest.approx(2.1 * 2)
    assert not any("do not converge;" in warning for warning in arrived.report["warnings"])
    (warning,) = group_effect(study, None, [1], steps=6, **options).report["warnings"]
    assert "is not known, for each step leads further" in warning


@pytest.mark.parametrize(
    ("residuals", "left"),
    [([1.0, 0.1], 0.1 / 0.9), ([1.0, 0.1, 0.08], 0.4), ([1.0, 0.1, 0.2], np.inf), ([1.0, 0.0], 0.0)],
)
def test_what_is_left_of_steps_that_slow_down_is_more_than_the_next_one(residuals, left):
    assert Path(torch.zeros(1), residuals, 1.0, True).left == pytest.approx(left)
