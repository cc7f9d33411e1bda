"""Votes of rules: against edits, scores, and training again with the labels that remain."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from minima import Net, data, minimise_chain
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import (
    Stage,
    Study,
    Votes,
    attribute,
    edit_effect,
    edit_scores,
    edits,
    relabel_scores,
    targets,
    vote_scores,
)
from influence.errors import LossError, StudyError
from influence.training import Retrainer

OPTIONS = {"method": "exact", "curvature": "hessian", "progress": False}
CLASSES, RULES, COUNT = 3, 4, 40


def loss(outputs, batch):
    return cross_entropy(outputs, batch[1], reduction="none")


def voted(truth: torch.Tensor) -> Votes:
    """Rules that are right in two votes of three, and abstain in every other; one at least votes on each."""
    rng = np.random.default_rng(0)
    table = np.where(
        rng.random((len(truth), RULES)) < 0.67, truth.numpy()[:, None], rng.integers(0, 3, (len(truth), RULES))
    )
    table[rng.random(table.shape) < 0.5] = -1
    table[(table < 0).all(1), 0] = 1
    return Votes(table, CLASSES)


@pytest.fixture(scope="module")
def votes():
    return voted(data(COUNT, 3, CLASSES, torch.Generator().manual_seed(1)).tensors[1])


@pytest.fixture(scope="module")
def study(votes):
    g = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    x, _ = data(COUNT, 3, CLASSES, g).tensors
    stages = [
        Stage("pretrain", Net(CLASSES), loss, TensorDataset(x, torch.from_numpy(votes.labels)), l2=0.1),
        Stage("finetune", Net(2), loss, data(30, 3, 2, g), l2=0.1, frozen=["first.*", "second.*"]),
    ]
    return Study("voted", minimise_chain(stages), data(8, 3, 2, g))


def test_labels_are_averages():
    votes = Votes([[0, 0, 1], [2, -1, -1]], classes=3)
    np.testing.assert_allclose(votes.labels, [[2 / 3, 1 / 3, 0], [0, 0, 1]])
    back, out = votes.take_back("s", 0)
    assert (back.rows, out.name, out.rows) == ((0,), "leave_out", (1,))
    np.testing.assert_allclose(np.array(back.labels), [[0.5, 0.5, 0]])


def test_a_vote_taken_back_is_its_edit(study, votes):
    found = vote_scores(study, votes, **OPTIONS)
    assert found.values.shape == (8, COUNT, RULES)
    given = np.argwhere(votes.table >= 0)
    made = [votes.take_back("pretrain", int(rule), [int(row)]) for row, rule in given]
    alone = edit_scores(study, made, **OPTIONS).values
    np.testing.assert_allclose(found.values[:, given[:, 0], given[:, 1]], alone, rtol=1e-4, atol=1e-7)
    assert not found.values[:, votes.table < 0].any()
    scores = attribute(study, **OPTIONS).values
    np.testing.assert_allclose(found.shares.sum(2), scores, rtol=1e-4, atol=1e-7)
    single = votes.counts == 1
    np.testing.assert_allclose(found.values[:, single].sum(2), scores[:, single], rtol=1e-4, atol=1e-7)
    some = vote_scores(study, votes, targets=[targets.mean(range(8))], batch_size=7, **OPTIONS)
    np.testing.assert_allclose(some.values[0], found.values.mean(0), rtol=1e-4, atol=1e-7)


def test_it_is_the_derivative_of_training_again(study, votes):
    """Labels that go a hundredth of the way to those without the vote."""
    found = vote_scores(study, votes, **OPTIONS).values
    queries, (x, y) = study.queries, study.stages[0].data.tensors

    def losses(stages):
        with torch.no_grad():
            return loss(stages[-1].model(queries.tensors[0]), queries.tensors)

    base = losses(study.stages)
    for row, rule in np.argwhere((votes.table >= 0) & (votes.counts[:, None] > 1))[::12]:
        (edit,) = votes.take_back("pretrain", int(rule), [int(row)])
        moved = y.clone()
        moved[row] += 0.01 * (torch.from_numpy(edit.labels[0]) - y[row])
        stages = [dataclasses.replace(study.stages[0], data=TensorDataset(x, moved)), study.stages[1]]
        measured = (losses(minimise_chain(stages)) - base) / 0.01
        np.testing.assert_allclose(found[:, row, rule], measured, rtol=0.02, atol=0.01 * measured.abs().max())


def test_votes_and_whole_rules_taken_back_are_predicted(study, votes):
    found, retrainer = vote_scores(study, votes, **OPTIONS).values, Retrainer(study)
    base = retrainer.retrain().losses
    given = np.argwhere(votes.table >= 0)[::4]
    measured = [
        retrainer.retrain(edits=votes.take_back("pretrain", int(rule), [int(row)])).losses - base for row, rule in given
    ]
    predicted = found[:, given[:, 0], given[:, 1]].T
    assert np.corrcoef(predicted.ravel(), np.ravel(measured))[0, 1] > 0.99
    off = votes.take_back("pretrain", 2)
    really = retrainer.retrain(edits=off).losses - base
    effect = edit_effect(study, off, steps=3, **OPTIONS)
    np.testing.assert_allclose(effect.first, found[:, :, 2].sum(1), rtol=1e-4, atol=1e-6)
    assert np.linalg.norm(effect.total - really) < 0.2 * np.linalg.norm(effect.first - really)


def test_relabellings_of_probabilities_are_edits(study, votes):
    found = relabel_scores(study, **OPTIONS).values
    label = np.eye(CLASSES)
    made = [edits.relabel("pretrain", [row], [label[number]]) for row in (0, 9) for number in range(CLASSES)]
    alone = edit_scores(study, made, **OPTIONS).values.reshape(8, 2, CLASSES)
    np.testing.assert_allclose(found[:, [0, 9]], alone, rtol=1e-4, atol=1e-7)


def test_unanimous_votes_are_class_numbers():
    """A stage may hold them as these; a batch of its own collation, too."""
    g = torch.Generator().manual_seed(1)
    stage = Stage("one", Net(CLASSES), loss, data(COUNT, 3, CLASSES, g), l2=0.1)
    study = Study("one", minimise_chain([stage]), data(8, 3, CLASSES, g))
    votes = Votes(stage.data.tensors[1][:, None].repeat(1, 2), CLASSES)
    found = vote_scores(study, votes, **OPTIONS)
    assert not found.values.any(), "the other vote stands for the same class"
    np.testing.assert_allclose(found.shares.sum(2), attribute(study, **OPTIONS).values, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0, 3]], r"Rule 1 votes 3 on example 0, expected a class from 0 to 2, or -1"),
        ([[0.5, 1]], "Rule 0 votes 0.5"),
        ([[0, float("nan")]], "Rule 1 votes nan"),
        ([[0, 1], [-1, -1]], r"All rules abstain on 1 examples \(1\)"),
        ([0, 1], r"shape \(2,\), expected numbers of shape"),
        ([], r"shape \(0,\)"),
        ([["a", "b"]], r"expected numbers of shape \(examples, rules\)"),
    ],
)
def test_votes_that_cannot_be(table, message):
    with pytest.raises(StudyError, match=message):
        Votes(table, CLASSES)


def test_what_does_not_fit_is_named(study, votes):
    for call, message in {
        lambda: votes.take_back("pretrain", 9): "no rule 9; they are 0 to 3",
        lambda: Votes([[0, -1]], 3).take_back("pretrain", 1): "Rule 1 takes back no vote on any example",
        lambda: Votes([[0, -1]], 3).take_back("pretrain", 1, [0]): "takes back no vote on 0: it abstains",
        lambda: vote_scores(study, Votes(votes.table[:5], 3), **OPTIONS): "votes on 5 examples for 3 classes",
        lambda: vote_scores(study, votes, "finetune", **OPTIONS): "stage 'finetune' has 30 examples and 2 classes",
        lambda: vote_scores(study, Votes(votes.table[::-1], 3), **OPTIONS): "Train on `votes.labels`",
    }.items():
        with pytest.raises(StudyError, match=message):
            call()
    first = study.stages[0]

    def squared(outputs, batch):
        return -(batch[1].square() * outputs.log_softmax(1)).sum(1)

    odd = Study("odd", [dataclasses.replace(first, loss=squared), study.stages[1]], study.queries)
    with pytest.raises(LossError, match="not linear in the probabilities of its labels"):
        vote_scores(odd, votes, method="identity", progress=False)


def test_other_labels_are_refused_before_the_curvature(study, votes, monkeypatch):
    monkeypatch.setattr("influence.curvature.exact.Exact.fit", lambda _: pytest.fail("curvature was computed"))
    other = Votes(np.roll(votes.table, 1, axis=0), CLASSES)
    with pytest.raises(StudyError, match="Train on `votes.labels`"):
        vote_scores(study, other, **OPTIONS)
