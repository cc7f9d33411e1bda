"""Sets of examples that lower a target together: against all pairs, and training again."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from minima import Net, data, loss, minimise_chain
from torch.utils.data import TensorDataset

from influence import Stage, Study, attribute, best_together, edits, targets
from influence.attribution.edits.together import _edited, _rows
from influence.errors import StudyError
from influence.training import Retrainer

OPTIONS = {"method": "exact", "curvature": "hessian", "progress": False}
ALL = targets.mean(range(10))


def study_of(pretraining, seed: int = 1) -> Study:
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    stages = [
        Stage("pretrain", Net(3), loss, pretraining, l2=0.1),
        Stage("finetune", Net(2), loss, data(30, 3, 2, g), l2=0.1, frozen=["first.*", "second.*"]),
    ]
    return Study("smooth", minimise_chain(stages), data(20, 3, 2, g))


@pytest.fixture(scope="module")
def study():
    return study_of(data(40, 3, 3, torch.Generator().manual_seed(0)))


def truth_of(study: Study):
    """Rows and change of weight -> what training again gives: the change of the mean loss of the queries of `ALL`."""
    retrainer = Retrainer(study)
    base = retrainer.retrain().losses

    def falls(rows, by: int = -1) -> float:
        return float((retrainer.retrain(edits=edits.upweight("pretrain", rows, by)).losses - base)[:10].mean())

    return falls


@pytest.mark.parametrize("by", [-1, 1])
def test_it_is_among_the_best_of_all_pairs(by):
    study = study_of(data(12, 3, 3, torch.Generator().manual_seed(0)))
    found = best_together(study, ALL, 2, by=by, rounds=2, **OPTIONS)
    falls = truth_of(study)
    pairs = sorted(falls(rows, by) for rows in itertools.combinations(range(12), 2))
    assert found.measured[:10].mean() == pytest.approx(falls(found.rows, by), abs=1e-6)
    assert found.measured[:10].mean() <= pairs[3], "of 66"


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("terms", [{"l2": 0.1, "proximity": 0.3}, {"l2": {"*.bias": 0.05, "*": 0.1}, "proximity": 0.2}])
def test_an_edited_stage_has_the_minimum_of_its_weights(by, terms):
    """By the tests' own optimiser; and a score is that of a mean that keeps its denominator."""
    g = torch.Generator().manual_seed(0)
    first, second = (Stage(name, Net(3), loss, data(30, 3, 3, g), **terms) for name in ("one", "two"))
    weights = torch.ones(30).double()
    weights[[4, 9]] += by
    rows = _rows(30, [4, 9], by)
    edited = _edited(second, rows)
    edited.data = TensorDataset(*(tensor[rows] for tensor in second.data.tensors))
    expected = minimise_chain([first, second], {"two": weights})[-1].model
    found = minimise_chain([first, edited])[-1].model
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        np.testing.assert_allclose(one.detach(), other.detach(), atol=1e-8)


def test_of_copies_it_takes_what_helps():
    """Nine copies of the most helpful example lead the list; counted twice, some of them are enough."""
    g = torch.Generator().manual_seed(0)
    x, y = data(40, 3, 3, g).tensors
    scores = attribute(study_of(TensorDataset(x, y)), targets=[ALL], **OPTIONS).values[0]
    rows = torch.cat([torch.arange(40), torch.full((9,), int(scores.argmax()))])
    study = study_of(TensorDataset(x[rows], y[rows]))
    by_score = np.argsort(-attribute(study, targets=[ALL], **OPTIONS).values[0])[:10]
    found, falls = best_together(study, ALL, 10, by=1, **OPTIONS), truth_of(study)
    assert len(set(found.rows.tolist())) == 10
    assert falls(found.rows, 1) < 1.05 * falls(by_score, 1) < 0


def test_a_support_set_helps(study):
    """Its examples twice in the data, beside random sets of the same size, and those of the largest scores."""
    found = best_together(study, ALL, 8, by=1, **OPTIONS)
    rng, scores = np.random.default_rng(0), attribute(study, targets=[ALL], **OPTIONS).values[0]
    falls = truth_of(study)
    others = [falls(rng.choice(40, 8, replace=False), 1) for _ in range(5)]
    assert found.measured[:10].mean() < min(0, *others)
    assert found.measured[:10].mean() <= falls(np.argsort(-scores)[:8], 1) + 1e-6
    once = best_together(study, ALL, 8, by=1, rounds=1, **OPTIONS)
    assert sorted(once.rows.tolist()) == sorted(np.argsort(-scores)[:8].tolist())


def test_what_cannot_be_is_named(study):
    for options, message in (
        ({"count": 0}, "count is 0, expected a whole number from 1 to 39: stage 'pretrain' has 40 examples"),
        ({"count": 2.5}, "count is 2.5"),
        ({"count": True}, "count is True"),
        ({"count": 40}, "count is 40, expected a whole number from 1 to 39"),
        ({"count": 3, "rounds": 4}, "rounds is 4, expected a whole number from 1 to 3"),
        ({"count": 6, "by": 0}, "by is 0, expected -1"),
        ({"count": 6, "by": 0.5}, "by is 0.5, expected -1"),
        ({"count": 6, "stage": "third"}, "third"),
    ):
        with pytest.raises(StudyError, match=message):
            best_together(study, ALL, **options, **OPTIONS)
