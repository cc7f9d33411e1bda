"""Scores of several trainings of one study: their mean, their spread, and studies that are not the same."""

from __future__ import annotations

import dataclasses
from collections import UserDict

import numpy as np
import pytest
import torch
from tiny import PRETRAIN, QUERIES, tiny_data, tiny_study
from torch.utils.data import TensorDataset

from influence import Study, attribute
from influence.attribution.trainings.sameness import refuse_other_studies
from influence.errors import MethodError, StudyError
from influence.training.retraining import shuffled_start


def trained(seed: int) -> Study:
    """The tiny study, at other parameters for each seed."""
    study = tiny_study()
    first, last = study.stages
    first.model.load_state_dict(shuffled_start(first.model.state_dict(), seed))
    last.model.body.load_state_dict(first.model.body.state_dict())
    return study


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_mean_and_spread_are_those_of_the_scores_of_each(stage):
    studies = [trained(seed) for seed in range(3)]
    alone = [attribute(study, stage=stage, method="exact", damping=0.1, progress=False) for study in studies]
    found = attribute(studies, stage=stage, method="exact", damping=0.1, progress=False)
    every = np.stack([each.values for each in alone])
    np.testing.assert_allclose(found.values, every.mean(0), rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(found.spread, every.std(0, ddof=1), rtol=1e-5, atol=1e-8)
    assert found.spread.shape == found.values.shape == (QUERIES, len(studies[0].stages[stage == "finetune"].data))
    assert found.values.dtype == found.spread.dtype == np.float32
    assert found.report["trainings"] == 3
    assert set(found.report["warnings"]) == {w for each in alone for w in each.report["warnings"]}
    assert found.stage == stage
    assert alone[0].spread is None


def test_what_each_query_has_in_a_report_is_the_worst_of_all():
    studies = [trained(seed) for seed in range(2)]
    alone = [attribute(study, method="cg", damping=0.1, progress=False).report["stages"] for study in studies]
    both = attribute(studies, method="cg", damping=0.1, progress=False).report["stages"]
    for stage, *each in zip(both, *alone, strict=True):
        assert stage["residuals"] == np.max([one["residuals"] for one in each], axis=0).tolist()
        assert len(stage["residuals"]) == QUERIES


def test_targets_are_averaged_too_and_the_unit_is_lost_by_any():
    found = attribute((trained(0), trained(1)), method="identity", targets=[lambda o: o[0, 0]], progress=False)
    assert found.values.shape == found.spread.shape == (1, PRETRAIN)
    assert found.report["unit"] == "order only"


def test_of_one_training_there_is_no_spread():
    found = attribute([trained(0)], method="identity", progress=False)
    assert np.isnan(found.spread).all()
    assert np.isfinite(found.values).all()


def test_one_training_twice_is_told():
    found = attribute([trained(0), trained(1), trained(0)], method="identity", progress=False)
    assert any("Studies 1 and 3 have the same parameters" in warning for warning in found.report["warnings"])


def _renamed(study):
    return Study("tiny", [dataclasses.replace(study.stages[0], name="other"), study.stages[1]], study.queries)


def _of_other_l2(study):
    return Study("tiny", [dataclasses.replace(study.stages[0], l2=0.5), study.stages[1]], study.queries)


def _of_other_data(study):
    x, y = study.stages[0].data.tensors
    x = x.clone()
    x[7] += 1
    return Study(
        "tiny", [dataclasses.replace(study.stages[0], data=TensorDataset(x, y)), study.stages[1]], study.queries
    )


def _of_fewer_data(study):
    return Study("tiny", [dataclasses.replace(study.stages[0], data=tiny_data(9, 2)), study.stages[1]], study.queries)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_renamed, "their stages: pretrain, finetune, and other, finetune"),
        (_of_other_l2, "l2, proximity or frozen parts of stage 'pretrain'"),
        (_of_other_data, "the data of stage 'pretrain': example 7"),
        (_of_fewer_data, "the data of stage 'pretrain': 40 and 9 examples"),
        (lambda s: Study("tiny", s.stages, tiny_data(QUERIES, 3, seed=9)), "their queries: example 0"),
        (lambda s: tiny_study(frozen=False), "frozen parts of stage 'finetune'"),
    ],
)
def test_studies_that_differ_are_refused(change, said):
    with pytest.raises(StudyError, match="Study 1 and study 3 differ in") as error:
        attribute([trained(0), trained(1), change(trained(2))], method="identity", progress=False)
    assert said in str(error.value)


@pytest.mark.parametrize("given", [[], [1], None, "study"])
def test_what_is_no_study_is_refused(given):
    with pytest.raises(StudyError, match="Expected a Study, or a list of studies"):
        attribute(given, progress=False)


def test_replay_is_of_one_training():
    with pytest.raises(MethodError, match="each study alone"):
        attribute([trained(0), trained(1)], method="replay", progress=False)


class _Plain:
    """Without `==`."""


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (np.arange(3), np.arange(3), True),
        (np.arange(3), np.arange(4), False),
        (UserDict(ids=torch.ones(3)), UserDict(ids=torch.ones(3)), True),
        (UserDict(ids=torch.ones(3)), UserDict(ids=torch.zeros(3)), False),
        ("a", "a", True),
        (_Plain(), _Plain(), True),
        (_Plain(), "a", False),
    ],
)
def test_examples_of_any_kind_are_compared(one, other, same):
    study, twin = tiny_study(), tiny_study()
    study.queries, twin.queries = [one], [other]
    if same:
        refuse_other_studies([study, twin])
    else:
        with pytest.raises(StudyError, match="their queries: example 0"):
            refuse_other_studies([study, twin])
