"""Every kind of edit, predicted and compared with an optimiser that shares no code with the library's."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from minima import Net, data, loss, minimise_chain
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import Dataset, TensorDataset

from influence import Stage, Study, edit_effect, edit_scores, edits, targets
from influence.errors import LossError, MethodError, StudyError
from influence.training import Retrainer

OPTIONS = {"method": "exact", "curvature": "hessian", "progress": False}


def study_at_minimum(seed: int = 1, **finetuning) -> Study:
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    stages = [
        Stage("pretrain", Net(2), loss, data(40, 3, 2, g), l2=0.1),
        Stage("finetune", Net(3), loss, data(40, 3, 3, g), l2=0.1, **finetuning),
    ]
    return Study("smooth", minimise_chain(stages), data(7, 3, 3, g))


@pytest.fixture(
    scope="module", params=[{"frozen": ["first.*", "second.*"]}, {"proximity": 0.3}], ids=["frozen", "updated"]
)
def study(request):
    return study_at_minimum(**request.param)


def answers(model, study):
    x, y = study.queries.tensors
    with torch.no_grad():
        return loss(model(x), [x, y]).numpy()


def really(study: Study, changed: dict[str, tuple[TensorDataset, torch.Tensor]]) -> np.ndarray:
    """Change of every query's loss, by training both stages again on data and weights that are given by hand."""
    stages, weights = [], {}
    for stage in study.stages:
        stage = copy.copy(stage)
        if stage.name in changed:
            m = len(stage.data)
            stage.data, given = changed[stage.name]
            weights[stage.name] = given * len(given) / m  # the reference divides by the number of rows
        stages.append(stage)
    return answers(minimise_chain(stages, weights)[-1].model, study) - answers(study.stages[-1].model, study)


def by_hand(study: Study, name: str, kind: str):
    """An edit of a stage, and the stage's (data, weights) with it made."""
    x, y = (tensor.clone() for tensor in study.stages[study.position(name)].data.tensors)
    weights, g = torch.ones(len(x)).double(), torch.Generator().manual_seed(5)
    if kind == "leave_out":
        weights[[3, 11]] = 0
        return edits.leave_out(name, [3, 11]), (TensorDataset(x, y), weights)
    if kind == "upweight":
        weights[[3, 11]] = 2.5
        return edits.upweight(name, [3, 11], 1.5), (TensorDataset(x, y), weights)
    if kind == "relabel":
        labels = ((y[[3, 11]] + 1) % 2).tolist()
        y[[3, 11]] = torch.tensor(labels)
        return edits.relabel(name, [3, 11], labels), (TensorDataset(x, y), weights)
    if kind == "replace":
        x[3, 1], x[11, 2] = 0.0, 0.0
        return edits.replace(name, [3, 11], [(x[3], y[3]), (x[11], y[11])]), (TensorDataset(x, y), weights)
    more = torch.randn(2, 3, generator=g).double(), torch.tensor([0, 1])
    added = TensorDataset(torch.cat([x, more[0]]), torch.cat([y, more[1]]))
    return edits.add(name, TensorDataset(*more)), (added, torch.ones(len(x) + 2).double())


KINDS = ["leave_out", "upweight", "relabel", "replace", "add"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["pretrain", "finetune"])
def test_every_kind_of_edit_is_what_training_again_gives(study, name, kind):
    edit, changed = by_hand(study, name, kind)
    measured = really(study, {name: changed})
    first = edit_effect(study, edit, steps=0, **OPTIONS)
    assert not first.second.any()
    assert np.corrcoef(first.total, measured)[0, 1] > 0.98
    assert np.linalg.norm(first.total - measured) < 0.3 * np.linalg.norm(measured)
    deep = edit_effect(study, edit, steps=25, **OPTIONS)
    np.testing.assert_allclose(deep.total, measured, atol=1e-4 * np.abs(measured).max())
    np.testing.assert_allclose(deep.first, first.first)
    assert not deep.report["warnings"]


def test_edits_of_both_stages_are_made_together(study):
    one, first = by_hand(study, "pretrain", "relabel")
    other, second = by_hand(study, "finetune", "replace")
    measured = really(study, {"pretrain": first, "finetune": second})
    found = edit_effect(study, [one, other], steps=25, **OPTIONS)
    np.testing.assert_allclose(found.total, measured, atol=1e-4 * np.abs(measured).max())
    alone = [edit_effect(study, each, steps=0, **OPTIONS).first for each in (one, other)]
    np.testing.assert_allclose(found.first, sum(alone), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", ["pretrain", "finetune"])
def test_the_gauss_newton_matrix_gets_there_close_to_the_hessian_or_not(study, name):
    edit, changed = by_hand(study, name, "relabel")
    measured = really(study, {name: changed})
    found = edit_effect(study, edit, steps=12, **{**OPTIONS, "curvature": "ggn"})
    np.testing.assert_allclose(found.total, measured, atol=1e-4 * np.abs(measured).max())


def test_of_an_edit_of_less_weight_the_error_falls_with_its_square_and_its_cube(study):
    firsts, seconds = [], []
    for by in (0.8, 0.4):
        weights = torch.ones(40).double()
        weights[[2, 9, 30]] += by
        measured = really(study, {"pretrain": (study.stages[0].data, weights)})
        found = edit_effect(study, edits.upweight(None, [2, 9, 30], by), **OPTIONS)
        firsts.append(np.linalg.norm(found.first - measured))
        seconds.append(np.linalg.norm(found.total - measured))
    assert 3 < firsts[0] / firsts[1] < 5.5
    assert seconds[0] / seconds[1] > 6
    assert seconds[0] < 0.5 * firsts[0]


@pytest.mark.parametrize("kind", KINDS)
def test_really_training_again_takes_the_same_edits(study, kind):
    edit, changed = by_hand(study, "pretrain", kind)
    retrainer = Retrainer(study)
    found = retrainer.retrain(edits=edit).losses - retrainer.retrain().losses
    np.testing.assert_allclose(found, really(study, {"pretrain": changed}), atol=1e-6)
    assert all(len(stage.data) == 40 for stage in study.stages)


def test_soft_labels_are_probabilities_of_the_classes(study):
    other = 1 - int(study.stages[0].data.tensors[1][4])
    soft = edits.relabel("pretrain", [4], [[0.5, 0.5]])
    expected = edit_effect(study, edits.relabel("pretrain", [4], [other]), steps=0, **OPTIONS).first / 2
    np.testing.assert_allclose(edit_effect(study, soft, steps=0, **OPTIONS).first, expected, rtol=1e-7)


def test_single_precision_resolves_the_effect_of_one_example():
    double = study_at_minimum(frozen=["first.*"])
    single = copy.deepcopy(double)
    for stage in single.stages:
        stage.model.float()
        stage.data = TensorDataset(stage.data.tensors[0].float(), stage.data.tensors[1])
    single.queries = TensorDataset(single.queries.tensors[0].float(), single.queries.tensors[1])
    edit = edits.upweight("pretrain", [3], 1e-3)
    exact = edit_effect(double, edit, **OPTIONS)
    found = edit_effect(single, edit, **OPTIONS)
    np.testing.assert_allclose(found.total, exact.total, atol=0.01 * np.abs(exact.total).max())


def test_an_edit_that_leads_too_far_is_warned_about(study):
    flipped = 1 - study.stages[0].data.tensors[1]
    found = edit_effect(study, edits.relabel("pretrain", range(40), flipped.tolist()), steps=30, **OPTIONS)
    assert any("'pretrain': the steps beyond the first order do not converge" in w for w in found.report["warnings"])
    assert np.isfinite(found.total).all()


@pytest.mark.parametrize("curvature", ["hessian", "ggn"])
def test_masks_on_a_fifth_together_are_followed_to_where_training_ends(study, curvature):
    x, y = (tensor.clone() for tensor in study.stages[0].data.tensors)
    rows = list(range(0, 40, 5))
    x[rows, 0] = 4.0
    edit = edits.replace("pretrain", rows, [(x[row], y[row]) for row in rows])
    measured = really(study, {"pretrain": (TensorDataset(x, y), torch.ones(40).double())})
    errors = {}
    for steps in (0, 3, 12):
        found = edit_effect(study, edit, steps=steps, **{**OPTIONS, "curvature": curvature})
        errors[steps] = np.linalg.norm(found.total - measured) / np.linalg.norm(measured)
    assert errors[0] > 0.3
    assert errors[3] < 0.2 * errors[0]
    assert errors[12] < 1e-4


def test_the_label_that_an_example_has_changes_nothing_and_is_said(study):
    own = int(study.stages[0].data.tensors[1][3])
    found = edit_effect(study, edits.relabel("pretrain", [3], [own]), **OPTIONS)
    np.testing.assert_allclose(found.total, 0, atol=1e-12)
    assert f"pretrain: example 3 has the label {own} already, so no effect" in found.report["notes"]


# Many edits, each alone


def test_scores_of_many_edits_are_their_first_orders(study):
    several = [by_hand(study, name, kind)[0] for name in ("pretrain", "finetune") for kind in KINDS]
    together = [edits.leave_out("pretrain", [3, 11]), edits.relabel("finetune", [2], [0])]
    found = edit_scores(study, [*several, together], **OPTIONS)
    assert found.values.shape == (7, 11)
    expected = [edit_effect(study, each, steps=0, **OPTIONS).first for each in [*several, together]]
    np.testing.assert_allclose(found.values, np.stack(expected, axis=1), rtol=1e-5, atol=1e-9)


def test_the_same_example_may_stand_in_many_edits(study):
    found = edit_scores(study, [edits.leave_out(None, [3]), edits.upweight(None, [3], 1.0)], **OPTIONS).values
    np.testing.assert_allclose(found[:, 0], -found[:, 1], rtol=1e-6)


def test_targets_of_edits_are_changes_of_the_target(study):
    edit, changed = by_hand(study, "pretrain", "relabel")
    some = [targets.mean(range(7)), targets.gap([0, 1, 2], [3, 4]), targets.gap([0, 1, 2], [3, 4], of=1)]
    found = edit_effect(study, edit, steps=25, targets=some, **OPTIONS)
    measured = really(study, {"pretrain": changed})
    np.testing.assert_allclose(found.total[0], measured.mean(), rtol=1e-3)
    np.testing.assert_allclose(found.total[1], measured[:3].mean() - measured[3:5].mean(), rtol=1e-3, atol=1e-6)
    scored = edit_scores(study, [edit], targets=some, **OPTIONS).values
    np.testing.assert_allclose(scored[:, 0], found.first, rtol=1e-5)


# Bad input


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda: edits.leave_out("pretrain", []), "'pretrain': rows is empty"),
        (lambda: edits.leave_out("pretrain", [40]), "'pretrain' has no example 40; its examples are 0 to 39"),
        (lambda: edits.leave_out("other", [0]), "no stage 'other'"),
        (lambda: edits.leave_out(None, 3), "The first stage: rows is 3, expected a list"),
        (lambda: edits.leave_out("pretrain", range(40)), "take all 40 examples of stage 'pretrain' out"),
        (lambda: edits.upweight("pretrain", [1], -2), "by is -2, expected a finite number of at least -1"),
        (lambda: edits.upweight("pretrain", [1], float("nan")), "by is nan"),
        (lambda: edits.relabel("pretrain", [1, 2], [0]), "there are 1 labels for 2 rows"),
        (lambda: edits.relabel("pretrain", [1], [2]), "'pretrain' has no class 2, which example 1 was to have"),
        (lambda: edits.relabel("pretrain", [1], [-1]), "'pretrain' has no class -1"),
        (lambda: edits.relabel("pretrain", [1], [0.5]), "no class 0.5"),
        (lambda: edits.relabel("pretrain", [1], ["cat"]), "'cat' is of another kind|expected a number"),
        (lambda: edits.add("pretrain", []), "the examples are empty"),
        (lambda: edits.add("pretrain", [(torch.zeros(4).double(), torch.tensor(0))]), r"tensor of shape \(4,\)"),
        (lambda: edits.add("pretrain", [(torch.zeros(3), torch.tensor(0))]), "float32 where the stage's own"),
        (lambda: edits.add("pretrain", [torch.zeros(3).double()]), "is a tensor of shape .* not collated"),
        (lambda: edits.add("pretrain", [(torch.full((3,), torch.nan).double(), torch.tensor(0))]), "not finite"),
        (lambda: edits.replace("pretrain", [1, 2], [(torch.zeros(3).double(), torch.tensor(0))]), "1 examples for 2"),
        (lambda: [edits.leave_out("pretrain", [1]), edits.relabel(None, [1], [0])], "example 1 is edited twice"),
        (list, "There is no edit"),
        (lambda: None, "None is no edit"),
        (lambda: ["leave out 3"], "'leave out 3' is no edit"),
    ],
)
def test_bad_edits_are_named(study, edit, message):
    with pytest.raises(StudyError, match=message):
        edit_effect(study, edit(), **OPTIONS)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([0.5, 0.2, 0.3], "has 2 classes, and example 1 was to have 3 probabilities"),
        ([0.9, 0.9], "a sum of 1"),
        ([-1.0, 2.0], "none below 0"),
        (None, "cannot have the label None"),
        (float("nan"), "expected finite numbers"),
    ],
)
def test_a_label_that_is_none_of_the_stage_is_named(study, label, message):
    with pytest.raises(StudyError, match=message):
        edit_scores(study, [edits.relabel("pretrain", [1], [label])], method="identity", progress=False)


def test_steps_are_a_whole_number_of_any_kind(study):
    edit = edits.leave_out("pretrain", [3])
    found = [edit_effect(study, edit, steps=steps, **OPTIONS).total for steps in (2, np.int64(2))]
    np.testing.assert_allclose(*found)


def test_examples_and_numbers_are_taken_in_any_kind(study):
    x, y = (tensor[5] for tensor in study.stages[0].data.tensors)

    class Endless(Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, place):
            return x, y

    kinds = [[(x, y)], [[x, y]], [(x, int(y))], [(x.numpy(), np.int64(y))], Endless(), TensorDataset(x[None], y[None])]
    made = [edits.add("pretrain", kind) for kind in kinds]
    made += [edits.upweight("pretrain", [5], by) for by in (1, np.float32(1), torch.tensor(1.0), np.array(1))]
    found = edit_scores(study, made, **OPTIONS).values
    np.testing.assert_allclose(found, np.repeat(found[:, :1], len(made), 1), rtol=1e-6)
    with pytest.raises(StudyError, match="a number, 1.5, where the stage's own have a tensor"):
        edit_scores(study, [edits.add("pretrain", [(x, 1.5)])], **OPTIONS)
    with pytest.raises(StudyError, match="examples is a dict"):
        edits.add("pretrain", {"x": x})


def test_soft_labels_and_unknown_ones_are_trained_with_or_named(study):
    retrainer = Retrainer(study)
    other = (1 + int(study.stages[1].data.tensors[1][4])) % 3
    hard = retrainer.retrain(edits=edits.relabel("finetune", [4], [other])).losses
    soft = retrainer.retrain(edits=edits.relabel("finetune", [4], [np.eye(3)[other]])).losses
    np.testing.assert_allclose(soft, hard, atol=1e-7)
    with pytest.raises(LossError, match="'finetune'"):
        retrainer.retrain(edits=edits.relabel("finetune", [4], [3]))


def test_a_yes_or_no_label_may_be_a_share_in_between():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(20, 3, generator=g).double()
    y = (x[:, :1] > 0).double()

    def rule(z, batch):
        return binary_cross_entropy_with_logits(z, batch[1], reduction="none").flatten()

    model, data = torch.nn.Linear(3, 1).double(), TensorDataset(x, y)
    study = Study("yes", [Stage("only", model, rule, data, l2=0.1)], data)
    labels = [float(1 - y[3]), 0.5]
    flipped, half = edit_scores(study, [edits.relabel("only", [3], [c]) for c in labels], **OPTIONS).values.T
    np.testing.assert_allclose(half, flipped / 2, rtol=1e-5)
    with pytest.raises(StudyError, match="no class"):
        edit_scores(study, [edits.relabel("only", [3], [5.0])], **OPTIONS)


def test_an_added_example_that_the_loss_fails_on_is_named(study):
    with pytest.raises(LossError, match="'pretrain'"):
        edit_effect(study, edits.add("pretrain", [(torch.zeros(3).double(), torch.tensor(7))]), **OPTIONS)


def test_steps_need_a_curvature(study):
    edit = edits.leave_out(None, [1])
    with pytest.raises(MethodError, match="'identity' has no curvature"):
        edit_effect(study, edit, method="identity", progress=False)
    assert edit_effect(study, edit, method="identity", steps=0, progress=False).first.any()
    for steps in (-1, 1.5, True):
        with pytest.raises(MethodError, match="steps is"):
            edit_effect(study, edit, steps=steps, **OPTIONS)
