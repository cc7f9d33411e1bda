"""Predicted against real: examples of scikit-learn's 8x8 digits left out, both stages trained again."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from minima import loss
from small_digits import SmallNet, trained_study
from tiny import QUERIES, tiny_data, tiny_stages
from tiny_texts import text_study
from torch import nn
from torch.utils.data import TensorDataset

from influence import Stage, Study, attribute, edits
from influence.errors import StudyError, TrainingError
from influence.training import minimum
from influence.training.minimum import fit_stage
from influence.training.recipe import Recipe
from influence.training.recording import record, retrain
from influence.training.retraining import Retrainer


@pytest.fixture(scope="module", params=["frozen", "updated"])
def study(request):
    return trained_study(request.param)


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_scores_predict_what_leaving_out_really_does(study, stage):
    scores = attribute(study, stage=stage, method="exact", curvature="hessian", progress=False).values
    strongest = np.argsort(-np.abs(scores).sum(0))[:8]
    others = np.random.default_rng(0).choice(scores.shape[1], 8, replace=False)
    examples = [*strongest, *others]
    retrainer = Retrainer(study)
    base = retrainer.losses_without(stage, [])
    measured = torch.stack([retrainer.losses_without(stage, [example]) - base for example in examples]).numpy()
    predicted = scores[:, examples].T
    assert np.corrcoef(predicted.ravel(), measured.ravel())[0, 1] > 0.95
    assert np.corrcoef(predicted.sum(1), measured.sum(1))[0, 1] > 0.95
    slope = np.polyfit(predicted.ravel(), measured.ravel(), 1)[0]
    assert 0.85 < slope < 1.2, "the unit is nats: predicted and measured agree in size, not only in order"
    for row_predicted, row_measured in zip(predicted[8:], measured[8:], strict=True):
        assert np.corrcoef(row_predicted, row_measured)[0, 1] > 0.95


def test_nothing_left_out_changes_nothing(study):
    retrainer = Retrainer(study)
    x, y = study.queries.tensors
    now = loss(study.stages[-1].model(x), [x, y]).detach()
    torch.testing.assert_close(retrainer.losses_without("pretrain", []), now, rtol=0, atol=1e-6)


def test_an_example_that_does_not_exist_is_named(study):
    with pytest.raises(StudyError, match="'pretrain' has no example 700; its examples are 0 to 699"):
        Retrainer(study).losses_without("pretrain", [700])


def test_a_stage_too_large_for_its_hessian_is_retrained_all_the_same(study, monkeypatch):
    whitened = Retrainer(study).losses_without("pretrain", [3])
    monkeypatch.setattr(minimum, "MAX_DENSE", 10)
    monkeypatch.setattr(minimum.Trainer, "whitening_at", None)  # it must not even be tried
    plain = Retrainer(study, tolerance=1e-6).losses_without("pretrain", [3])
    base = Retrainer(study, tolerance=1e-6).losses_without("pretrain", [])
    assert (whitened - base).abs().max() > 1e-4
    torch.testing.assert_close(plain - base, whitened - base, rtol=0.05, atol=1e-5)


# Against closed forms, and against data sets that really lack the example


def squares(outputs, batch):
    return (outputs[:, 0] - batch[1]).square() / 2


def ridge_study(l2: float = 0.1) -> Study:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 4, generator=g).double(), torch.randn(30, generator=g).double()
    model = nn.Linear(4, 1, bias=False).double()
    stage = Stage("only", model, squares, TensorDataset(x, y), l2=l2)
    fit_stage(stage, None)
    return Study("ridge", [stage], TensorDataset(torch.randn(6, 4, generator=g).double(), torch.zeros(6).double()))


@pytest.mark.parametrize("start", ["solution", "scratch"])
def test_leaving_out_of_a_ridge_regression_is_its_closed_form(start):
    study = ridge_study()
    x, y = study.stages[0].data.tensors
    retrainer = Retrainer(study, starts={"only": {"weight": torch.ones(1, 4).double()}})
    weights = retrainer.weights_without("only", [3, 7])
    outcome = retrainer.retrain({"only": weights}, start=start)
    kept = weights.bool()
    closed = torch.linalg.solve(x[kept].T @ x[kept] / 30 + 0.1 * torch.eye(4).double(), x[kept].T @ y[kept] / 30)
    expected = squares((study.queries.tensors[0] @ closed)[:, None], study.queries.tensors)
    np.testing.assert_allclose(outcome.losses, expected.numpy(), atol=1e-7)
    np.testing.assert_allclose(outcome.parameters[0]["weight"][0].numpy(), closed.numpy(), atol=1e-7)


def test_from_scratch_the_training_of_the_study_is_repeated():
    torch.manual_seed(0)
    study_before = trained_study("updated")
    torch.manual_seed(0)
    starts = {"pretrain": SmallNet(4), "finetune": SmallNet(6)}  # drawn in the order in which the study draws them
    starts = {name: {n: p.detach() for n, p in model.named_parameters()} for name, model in starts.items()}
    retrainer = Retrainer(study_before, starts=starts)
    same = retrainer.retrain(start="scratch").parameters
    for stage, found in zip(study_before.stages, same, strict=True):
        for name, parameter in stage.model.named_parameters():
            torch.testing.assert_close(found[name], parameter.detach(), rtol=0, atol=1e-6)
    other = retrainer.retrain(start="scratch", seed=5)
    assert max(float((other.parameters[0][n] - same[0][n]).abs().max()) for n in same[0]) > 0.1
    head = retrainer.finetuned(5)
    assert all(torch.equal(head.parameters[0][n], p) for n, p in study_before.stages[0].model.named_parameters())


def tuned(l2=0.02):
    stages = tiny_stages(frozen=False, l2=l2)
    starts = {s.name: {n: p.detach().clone() for n, p in s.model.named_parameters()} for s in stages}
    recipes = {"pretrain": Recipe(30, 8, 0.1), "finetune": Recipe(20, 5, 0.01, optimiser="adam")}
    first = record(stages[0], None, recipes["pretrain"])
    first.apply()
    second = record(stages[1], first, recipes["finetune"])
    second.apply()
    study = Study("tiny", stages, tiny_data(QUERIES, 3, seed=3))
    return study, Retrainer(study, recipes=recipes, starts=starts), [first, second]


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_stages_trained_by_recipe_are_repeated_step_by_step(stage):
    study, retrainer, recordings = tuned()
    weights = retrainer.weights_without(stage, [4])
    again = retrain(recordings, {stage: weights})
    outcome = retrainer.retrain({stage: weights}, start="scratch")
    for recording, found in zip(again, outcome.parameters, strict=True):
        for name, value in recording.parameters.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-12)
    model = retrainer.study_at(outcome.parameters).stages[1].model
    x, y = study.queries.tensors
    expected = model(x).detach()
    np.testing.assert_allclose(outcome.losses, loss(expected, [x, y]).numpy())
    np.testing.assert_array_equal(outcome.predicted, expected.argmax(1).numpy())


def test_a_recipe_goes_on_from_the_solution_and_leaving_nothing_out_is_the_base():
    study, retrainer, _ = tuned()
    before = [p.detach().clone() for s in study.stages for p in s.model.parameters()]
    base = retrainer.retrain().losses
    np.testing.assert_array_equal(retrainer.losses_without("pretrain", []).numpy(), base)
    assert np.abs(retrainer.losses_without("pretrain", [4]).numpy() - base).max() > 1e-4
    after = [p for s in study.stages for p in s.model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_what_did_not_converge_is_refused(study, monkeypatch):
    retrainer = Retrainer(study)
    fit = minimum.Trainer.fit
    monkeypatch.setattr(minimum.Trainer, "fit", lambda self, **given: fit(self, **given | {"iterations": 1}))
    retrainer._whitenings = dict.fromkeys(range(2))
    with pytest.raises(
        TrainingError, match=r"'pretrain': training again stopped at a gradient norm of .*short of 1e-05"
    ):
        retrainer.losses_without("pretrain", list(range(300)))


def test_bad_input_is_named(study):
    retrainer = Retrainer(study)
    with pytest.raises(StudyError, match="Where stage 'pretrain' began is not known"):
        retrainer.retrain(start="scratch")
    with pytest.raises(StudyError, match="start is 'there', expected 'solution' or 'scratch'"):
        retrainer.retrain(start="there")
    with pytest.raises(StudyError, match="seed is 3, but training from the solution draws nothing"):
        retrainer.retrain(seed=3)
    with pytest.raises(StudyError, match="no stage 'x'"):
        retrainer.retrain({"x": torch.ones(700)})
    with pytest.raises(TrainingError, match=r"weights have shape \(3,\), expected \(700,\)"):
        retrainer.retrain({"pretrain": torch.ones(3)})


# Edited data


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_edits_of_recorded_trainings_stand_in_the_same_batches(stage):
    """The second way is a data set that is written out by hand."""
    study, retrainer, recordings = tuned()
    place = study.position(stage)
    x, y = (tensor.clone() for tensor in study.stages[place].data.tensors)
    x[4], y[6] = 0.5, (y[6] + 1) % 2
    made = [edits.replace(stage, [4], [(x[4], y[4])]), edits.relabel(stage, [6], [int(y[6])])]
    again = retrain(recordings, edits=made)
    outcome = retrainer.retrain(edits=made, start="scratch")
    first, second = (dataclasses.replace(each, stage=copy.copy(each.stage)) for each in recordings)
    (first, second)[place].stage.data = TensorDataset(x, y)
    ones = torch.ones(len(x))
    by_hand = retrain([first, second], {stage: ones})
    assert by_hand[-1].parameters.keys() == again[-1].parameters.keys()
    for name, value in by_hand[-1].parameters.items():
        torch.testing.assert_close(again[-1].parameters[name], value)
        torch.testing.assert_close(outcome.parameters[-1][name], value, rtol=0, atol=1e-6)
        if place == 0:
            assert not torch.equal(again[0].parameters[name], recordings[0].parameters[name]) or "head" not in name


def test_edits_of_texts_leave_the_batches_which_are_drawn_by_length(monkeypatch):
    """Seven texts a batch, of two to six words; the longest becomes the shortest."""
    study = text_study(counts=(24, 12, 5))
    data = study.stages[0].data
    longest, shortest = int(data.lengths.argmax()), int(data.lengths.argmin())
    recipe = Recipe(9, 7, 0.05, seed=3)
    drawn, order = [], Recipe.order
    monkeypatch.setattr(Recipe, "order", lambda *given: drawn.append(order(*given)) or drawn[-1])
    retrainer = Retrainer(study, recipes={"pretrain": recipe})
    before = retrainer.retrain().losses
    same = retrainer.retrain(edits=edits.replace("pretrain", [longest], [data[longest]])).losses
    np.testing.assert_array_equal(same, before)
    other = retrainer.retrain(edits=edits.replace("pretrain", [longest], [data[shortest]])).losses
    assert (other != before).any()
    assert len(drawn) == 3
    assert all(torch.equal(each, drawn[0]) for each in drawn)


def test_edits_that_trainings_cannot_have_are_named():
    study, retrainer, recordings = tuned()
    more = edits.add("pretrain", [study.stages[0].data[0]])
    with pytest.raises(TrainingError, match="'pretrain' is trained in mini-batches"):
        retrainer.retrain(edits=more)
    with pytest.raises(TrainingError, match="'pretrain' is trained in mini-batches"):
        retrain(recordings, edits=more)
    out = edits.leave_out("pretrain", [1])
    with pytest.raises(StudyError, match=r"a weight is an edit: edits\.upweight"):
        retrainer.retrain({"pretrain": torch.ones(3)}, edits=out)
    with pytest.raises(StudyError, match=r"a weight is an edit: edits\.upweight"):
        retrain(recordings, {"pretrain": torch.ones(3)}, edits=out)
