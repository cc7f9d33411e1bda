"""A concept bottleneck in three stages: edits of annotations at the middle one, against training again.

Hu et al., "Editable Concept Bottleneck Models", 2024, ask what a wrongly annotated concept, or one that nobody had
annotated, does to the label.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.utils.data import TensorDataset

from influence import Stage, Study, edit_effect, edit_scores, edits, relabel_scores
from influence.errors import StudyError
from influence.training import Retrainer, fit_stage

OPTIONS = {"method": "exact", "curvature": "hessian", "progress": False}
CONCEPTS = 3


class Bottleneck(nn.Module):
    """A body, its concepts and, of the last stage, a head that sees these alone."""

    def __init__(self, outputs: int, on_concepts: bool):
        super().__init__()
        self.body = nn.Linear(6, 5)
        self.concepts = nn.Linear(5, CONCEPTS) if on_concepts else None
        self.head = nn.Linear(CONCEPTS if on_concepts else 5, outputs) if outputs else None
        self.double()

    def forward(self, x):
        found = torch.tanh(self.body(x))
        found = found if self.concepts is None else self.concepts(found)
        return found if self.head is None else self.head(torch.sigmoid(found) if self.concepts else found)


def annotated(outputs, batch):
    """The sum over the concepts that are annotated; -1 is none."""
    known = batch[1] >= 0
    return (binary_cross_entropy_with_logits(outputs, batch[1].clamp(min=0), reduction="none") * known).sum(1)


def classified(outputs, batch):
    return cross_entropy(outputs, batch[1], reduction="none")


@pytest.fixture(scope="module")
def study():
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    x = torch.randn(250, 6, generator=g).double()
    concepts = (x[:, :CONCEPTS] + 0.7 * torch.randn(250, CONCEPTS, generator=g) > 0).double()
    labels = (concepts[:, 0] + concepts[:, 1] > 1).long()
    stages = [
        Stage("pretrain", Bottleneck(2, False), classified, TensorDataset(x[:80], (x[:80, 3] > 0).long()), l2=0.05),
        Stage("concepts", Bottleneck(0, True), annotated, TensorDataset(x[80:180], concepts[80:180]), l2=0.05,
              frozen=["body.*"]),
        Stage("label", Bottleneck(2, True), classified, TensorDataset(x[150:230], labels[150:230]), l2=0.05,
              frozen=["body.*", "concepts.*"]),
    ]  # fmt: skip
    study = Study("bottleneck", stages, TensorDataset(x[230:], labels[230:]))
    for previous, stage in study.pairs():
        fit_stage(stage, previous)
    return study


def flipped(study: Study, row: int, concept: int) -> torch.Tensor:
    label = study.stages[1].data[row][1].clone()
    label[concept] = 1 - label[concept]
    return label


def test_a_corrected_annotation_is_what_training_again_gives(study):
    pairs = [(row, concept) for row in range(0, 100, 20) for concept in range(CONCEPTS)]
    made = [edits.relabel("concepts", [row], [flipped(study, row, concept)]) for row, concept in pairs]
    predicted = edit_scores(study, made, **OPTIONS).values
    retrainer = Retrainer(study)
    base = retrainer.retrain().losses
    measured = np.stack([retrainer.retrain(edits=edit).losses - base for edit in made], axis=1)
    assert np.corrcoef(predicted.ravel(), measured.ravel())[0, 1] > 0.98
    assert 0.8 < (predicted * measured).sum() / np.square(predicted).sum() < 1.25


def test_a_concept_that_nobody_annotated(study):
    """Its part of the loss dropped everywhere is too much for the first order; steps come as close as one likes."""
    labels = study.stages[1].data.tensors[1].clone()
    labels[:, 2] = -1
    edit = edits.relabel("concepts", range(100), labels)
    retrainer = Retrainer(study)
    really = retrainer.retrain(edits=edit).losses - retrainer.retrain().losses
    errors = []
    for steps in (0, 3, 30):
        found = edit_effect(study, edit, steps=steps, **OPTIONS).total
        errors.append(np.linalg.norm(found - really) / np.linalg.norm(really))
    assert errors[1] < errors[0] / 1.5, errors
    assert errors[2] < 0.02, errors


def test_what_is_no_annotation_is_named(study):
    with pytest.raises(StudyError, match=r"has a label of shape \(3,\); the new one, \[1, 0\], has \(2,\)"):
        edit_scores(study, [edits.relabel("concepts", [0], [[1, 0]])], **OPTIONS)
    with pytest.raises(StudyError, match="'concepts' has no classes"):
        relabel_scores(study, "concepts", **OPTIONS)
