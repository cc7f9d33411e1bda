"""What `attribute` answers to what cannot be, and what it warns of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_data, tiny_loss, tiny_stage, tiny_stages, tiny_study
from torch import nn
from torch.nn.functional import cross_entropy, nll_loss

from influence import Stage, Study, attribute
from influence.errors import CurvatureError, LossError, MethodError, StudyError
from influence.training.minimum import fit_stage


def ask(study, **options):
    return attribute(study, **{"method": "exact", "progress": False, **options})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"stage": "pre"}, StudyError, "Study 'tiny' has no stage 'pre'; its stages are pretrain, finetune"),
        ({"method": "magic"}, MethodError, "magic"),
        ({"curvature": "fisher"}, MethodError, "There is no curvature 'fisher'; choose one of ggn, hessian"),
        ({"toleranse": 1}, MethodError, "Method 'exact' has no option 'toleranse'; it has "),
        ({"method": "cg", "tolerance": 2.0}, MethodError, "tolerance is 2.0, expected a share between 0 and 1"),
        ({"damping": -1.0}, MethodError, "Damping is -1.0, expected a finite number that is not negative"),
        ({"damping": float("nan")}, MethodError, "Damping is nan, expected a finite number"),
        ({"batch_size": 0}, MethodError, "batch_size is 0, expected at least 1"),
        ({"curvature": "hessian"}, CurvatureError, "Use damping="),  # an untrained model
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error) as caught:
        ask(tiny_study(), **options)
    assert message in str(caught.value)


def test_unknown_method_is_answered_with_the_known_ones():
    with pytest.raises(MethodError) as error:
        ask(tiny_study(), method="magic")
    for name in ("exact", "cg", "identity"):
        assert name in str(error.value)


def at_example(number, value, data):
    """A loss that is `value` at one example of `data`."""

    def loss(outputs, batch):
        here = (batch[0] == data.tensors[0][number]).all(-1)
        return torch.where(here, value, tiny_loss(outputs, batch))

    return loss


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            lambda o, b: tiny_loss(o, b).mean(),
            "gave shape (), expected one value per example, shape (20,). Use reduction",
        ),
        (lambda o, b: tiny_loss(o, b)[:, None], "gave shape (20, 1), expected one value per example, shape (20,)"),
        (lambda o, b: tiny_loss(o, b)[1:], "gave shape (19,), expected one value per example, shape (20,)"),
        (lambda o, b: tiny_loss(o, b).tolist(), "gave a list, expected one value per example"),
    ],
)
def test_loss_that_is_not_one_value_per_example(loss, message):
    study = tiny_study()
    study.stages[1].loss = loss
    with pytest.raises(LossError) as error:
        ask(study)
    assert f"Stage 'finetune': the loss of a batch of 20 {message}" in str(error.value)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(("position", "name", "number"), [(0, "pretrain", 33), (1, "finetune", 7)])
def test_loss_that_is_not_finite_names_the_example(value, position, name, number):
    study = tiny_study()
    study.stages[position].loss = at_example(number, float(value), study.stages[position].data)
    with pytest.raises(LossError, match=rf"Stage '{name}': the loss of example {number} is {value}, expected a finite"):
        ask(study, batch_size=6)


def test_measure_is_checked_too():
    study = tiny_study()
    for measure, message in (
        (lambda o, b: o.sum(), r"expected one value per example, shape \(6,\)"),
        (at_example(4, float("nan"), study.queries), "example 4 is nan"),
    ):
        with pytest.raises(LossError, match=message):
            ask(Study("tiny", study.stages, study.queries, measure))


# Warnings


def trained(study: Study) -> Study:
    """The study at the minima of its stages."""
    for previous, stage in study.pairs():
        fit_stage(stage, previous)
    return study


def test_no_warning_where_there_is_nothing_to_warn_of():
    report = ask(trained(tiny_study())).report
    assert (report["warnings"], report["notes"], report["not_covered"]) == ([], [], {})


def test_a_frozen_parameter_with_another_value_than_it_inherited_warns():
    study = trained(tiny_study())
    with torch.no_grad():
        study.stages[0].model.body[0].bias += 0.25
    distance, warning = ask(study).report["warnings"]
    assert "Stage 'pretrain' does not stand at a minimum" in distance
    assert "Stage 'finetune': body.0.bias in `frozen` differ from stage 'pretrain' by up to 0.25" in warning
    assert ask(study, stage="finetune").report["warnings"] == []


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(MethodError, match="Device 'nonsense' cannot be used here"):
        ask(tiny_study(), device="nonsense")


def test_proximity_zero_warns_that_nothing_flows_back():
    study = trained(tiny_study(frozen=False, proximity=0.0))
    scores = ask(study)
    assert len(scores.report["warnings"]) == 1
    assert "Stage 'finetune' trains 2 inherited parameters with proximity 0" in scores.report["warnings"][0]
    assert not scores.values.any()
    assert ask(study, stage="finetune").report["warnings"] == []  # where nothing is to flow back


def test_requires_grad_off_but_not_frozen_warns_and_counts_as_trained():
    study = trained(tiny_study(frozen=False))
    plain = ask(study)
    study.stages[1].model.body.requires_grad_(False)
    scores = ask(study)
    assert len(scores.report["warnings"]) == 1
    assert "Stage 'finetune': body.0.weight, body.0.bias have requires_grad=False" in scores.report["warnings"][0]
    np.testing.assert_allclose(scores.values, plain.values)


def test_frozen_in_the_first_stage_is_reported_as_not_covered():
    stages = tiny_stages()
    first = Stage("pretrain", stages[0].model, tiny_loss, stages[0].data, l2=0.02, frozen=["body.0.bias"])
    report = ask(Study("tiny", [first, stages[1]], tiny_data(4, 3))).report
    assert report["not_covered"] == {"pretrain": ["body.0.bias"]}


# What torch cannot differentiate


def test_parameters_that_are_complex_or_have_no_shape_are_named():
    model = nn.Linear(4, 2)
    model.shift = nn.Parameter(torch.zeros(2, dtype=torch.cfloat))
    with pytest.raises(StudyError, match="Stage 'pretrain': parameter 'shift' is complex.*torch.complex"):
        tiny_stage(model=model)
    with pytest.raises(StudyError, match="Stage 'pretrain': parameter 'weight' has no shape yet. Call the model"):
        tiny_stage(model=nn.LazyLinear(2))


@pytest.mark.parametrize("method", ["exact", "cg", "ekfac", "arnoldi", "lissa", "identity"])
def test_a_loss_that_is_linear_in_the_outputs_is_warned_about(method):
    """Of distances; what is left is solved all the same."""
    model = nn.Linear(4, 3).double()

    def loss(outputs, batch):
        return (outputs - 1).abs().sum(1)

    data = tiny_data(12, 3)
    found = ask(Study("far", [Stage("far", model, loss, data, l2=0.1)], data), method=method, damping=0.0)
    assert np.isfinite(found.values).all()
    warned = [warning for warning in found.report["warnings"] if "linear in what the model returns" in warning]
    if method == "identity":
        assert not warned
        return
    gradients = []
    for x, y in data:
        rows = torch.autograd.grad(loss(model(x[None]), [None, y[None]]).sum(), list(model.parameters()))
        gradients.append(torch.cat([row.flatten() for row in rows]))
    exact = torch.stack(gradients) @ torch.stack(gradients).T / 0.1 / len(data)
    np.testing.assert_allclose(found.values, exact.numpy(), rtol=0.02, atol=1e-6)
    assert warned
    assert found.report["unit"] == "order only"


@pytest.mark.parametrize("method", ["exact", "cg", "ekfac", "arnoldi", "lissa"])
def test_log_probabilities_have_the_scores_of_logits(method):
    model, weights = nn.Linear(4, 3).double(), torch.tensor([1.0, 0.3, 2.0]).double()
    data = tiny_data(12, 3)
    logits = Stage("logits", model, lambda o, b: cross_entropy(o, b[1], weights, reduction="none"), data, l2=0.1)
    logs = Stage(
        "logs",
        nn.Sequential(model, nn.LogSoftmax(1)),
        lambda o, b: nll_loss(o, b[1], weights, reduction="none"),
        data,
        l2=0.1,
    )
    wanted, found = (ask(Study("one", [stage], data), method=method, damping=0.0) for stage in (logits, logs))
    np.testing.assert_allclose(found.values, wanted.values, rtol=1e-6, atol=1e-6 * abs(wanted.values).max())
    assert any("log-probabilities" in note for note in found.report["notes"])
    assert not any("linear" in warning for warning in found.report["warnings"])


def test_a_part_of_the_outputs_in_which_the_loss_is_linear_is_named():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 3), nn.Linear(4, 2)

        def forward(self, x):
            return self.one(x), self.two(x)

    data = tiny_data(12, 3)
    stage = Stage(
        "two", Two().double(), lambda o, b: cross_entropy(o[0], b[1], reduction="none") + o[1].abs().sum(1), data
    )
    found = ask(Study("two", [stage], data), method="exact", damping=0.1)
    assert any("(tensor 1, counted from 0)" in warning for warning in found.report["warnings"])
    assert found.report["unit"] == "nat"
