"""Scores after edits are those of a study that was really trained again with them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from small_digits import trained_study
from torch.utils.data import TensorDataset

from influence import attribute, edits, scores_after, targets
from influence.errors import MethodError, StudyError
from influence.study.copies import copied, put
from influence.study.revision import weighted
from influence.study.study import Study
from influence.training.retraining import Retrainer

SETTINGS = {"method": "exact", "curvature": "hessian", "progress": False}
TARGETS = [targets.mean([0, 3, 5]), targets.error(2)]


def retrained(study, made, edited, data):
    """The study trained again with the edits, with `data`, m' plain examples, in the place of the m that were edited.

    The terms grow by m / m', as the mean over fewer examples does.
    """
    stages = []
    for stage, parameters in zip(study.stages, Retrainer(study).retrain(edits=made).parameters, strict=True):
        model = copied(stage.model)
        put(model, parameters)
        changes = {"model": model}
        if stage.name == edited:
            share = len(stage.data) / len(data)
            changes |= {"data": data, "l2": stage.l2 * share, "proximity": stage.proximity * share}
        stages.append(dataclasses.replace(stage, **changes))
    return Study(study.name, stages, study.queries, study.measure)


@pytest.mark.parametrize(
    ("variant", "edited", "scored"),
    [
        ("frozen", "pretrain", "pretrain"),
        ("frozen", "finetune", "pretrain"),
        ("updated", "pretrain", "finetune"),
        ("updated", "finetune", "finetune"),
    ],
)  # fmt: skip
def test_they_are_those_of_really_training_again(variant, edited, scored):
    """Eight left out, one of another class, one counted three times, one more."""
    study = trained_study(variant)
    data, own = study.stages[study.position(edited)].data, len(study.stages[study.position(scored)].data)
    order = np.argsort(attribute(study, stage=edited, targets=TARGETS, **SETTINGS).values[0]).tolist()
    out, other, thrice = order[:8], order[-1], order[-2]
    x, y = data.tensors[0], data.tensors[1].clone()
    y[other] = (y[other] + 1) % 4
    made = [
        edits.leave_out(edited, out),
        edits.relabel(edited, [other], [y[other]]),
        edits.upweight(edited, [thrice], 2),
        edits.add(edited, [(x[5] / 2, y[5])]),
    ]
    found = scores_after(study, made, stage=scored, targets=TARGETS, steps=20, **SETTINGS)
    assert found.values.shape == (2, own)

    kept = [row for row in range(len(data)) if row not in out]
    rows = [*kept, thrice, thrice, 5]
    pictures = torch.cat([x[rows[:-1]], x[5:6] / 2])
    study_after = retrained(study, made, edited, TensorDataset(pictures, y[rows]))
    expected = attribute(study_after, stage=scored, targets=TARGETS, **SETTINGS).values
    left = list(range(own))
    if scored == edited:
        assert np.isnan(found.values[:, out]).all()
        left, expected = kept, expected[:, : len(kept)] * len(rows) / len(data)
        expected[:, kept.index(thrice)] *= 3
    before = attribute(study, stage=scored, targets=TARGETS, **SETTINGS).values[:, left]
    for was, one, truth in zip(before, found.values[:, left], expected, strict=True):
        assert np.linalg.norm(one - truth) <= 0.02 * np.linalg.norm(truth)
        assert np.linalg.norm(one - truth) <= 0.2 * np.linalg.norm(was - truth)
        assert spearmanr(one, truth)[0] >= 0.99
    assert found.report["targets"][1]["unit"] == "probability"


def test_a_weight_is_a_number_of_equal_examples():
    stage = trained_study("frozen").stages[0]
    (pictures, labels), weights = stage.data[[3, 4]], torch.tensor([2.0, 0.5])
    part = weighted(dataclasses.replace(stage, data=TensorDataset(pictures, labels)), weights)
    batch = part.collate([part.data[0], part.data[1]])
    losses = part.loss(part.forward(part.model, batch), batch)
    plain = stage.loss(stage.model(pictures), [pictures, labels])
    torch.testing.assert_close(losses, plain * weights)
    queries = part.collate([stage.data[3], stage.data[4]])
    torch.testing.assert_close(part.loss(part.forward(part.model, queries), queries), plain)


def test_weights_leave_batches_of_any_form_as_they_are():
    """With weight 1, scores are those without: of batches that a function makes, of dictionaries."""
    study = trained_study("frozen")
    last = study.stages[1]

    def collate(pairs):
        return {"x": torch.stack([x for x, _ in pairs]), "labels": torch.stack([y for _, y in pairs])}

    named = dataclasses.replace(
        last,
        collate=collate,
        forward=lambda model, batch: model(batch["x"]),
        loss=lambda outputs, batch: last.loss(outputs, [None, batch["labels"]]),
    )
    found = [
        attribute(Study("named", [study.stages[0], each], study.queries, each.loss), stage="finetune", **SETTINGS)
        for each in (named, weighted(named, torch.ones(len(last.data))))
    ]
    np.testing.assert_allclose(found[1].values, found[0].values, rtol=1e-5, atol=1e-10)
    assert found[1].report["notes"] == found[0].report["notes"]


def test_what_cannot_be_ranked_again():
    study = trained_study("frozen")
    one = edits.leave_out("pretrain", [0])
    with pytest.raises(MethodError, match="'identity' has no curvature"):
        scores_after(study, one, method="identity", progress=False)
    with pytest.raises(MethodError, match="steps is 0, expected at least 1"):
        scores_after(study, one, steps=0, **SETTINGS)
    with pytest.raises(StudyError, match="no example 700"):
        scores_after(study, edits.leave_out("pretrain", [700]), **SETTINGS)
    with pytest.raises(StudyError, match="no stage 'third'"):
        scores_after(study, one, stage="third", **SETTINGS)
    strong = edits.upweight("pretrain", range(100), 1e6)
    with pytest.raises(MethodError, match="do not converge"):
        scores_after(study, strong, **SETTINGS)
