"""Predicted against real: examples of scikit-learn's 8x8 digits left out, both stages trained again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from minima import loss
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

from influence import Stage, Study, attribute, training
from influence.errors import StudyError
from influence.training import fit_stage
from influence.validation import Retrainer, leave_one_out


class SmallNet(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 4, stride=2), nn.Tanh(), nn.Flatten())
        self.head = nn.Linear(36, classes)
        self.double()

    def forward(self, x):
        return self.head(self.features(x))


def trained_study(variant: str, seed: int = 0) -> Study:
    """Pretrained on 700 digits 0 to 3, finetuned on 300 digits 4 to 9, explained on 40 others."""
    digits = load_digits()
    x, y = torch.tensor(digits.images)[:, None] / 16, torch.tensor(digits.target)
    old, new = (y < 4).nonzero().flatten()[:700], (y >= 4).nonzero().flatten()
    torch.manual_seed(seed)
    pretraining = Stage("pretrain", SmallNet(4), loss, TensorDataset(x[old], y[old]), l2=0.03)
    finetuning = Stage(
        "finetune",
        SmallNet(6),
        loss,
        TensorDataset(x[new[:300]], y[new[:300]] - 4),
        l2=0.03,
        frozen=["features.*"] if variant == "frozen" else [],
        proximity=0.1,
    )
    fit_stage(pretraining, None)
    fit_stage(finetuning, pretraining)
    return Study(variant, [pretraining, finetuning], TensorDataset(x[new[300:340]], y[new[300:340]] - 4))


@pytest.fixture(scope="module", params=["frozen", "updated"])
def study(request):
    return trained_study(request.param)


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_scores_predict_what_leaving_out_really_does(study, stage):
    scores = attribute(study, stage=stage, method="exact", curvature="hessian", progress=False).values
    strongest = np.argsort(-np.abs(scores).sum(0))[:8]
    others = np.random.default_rng(0).choice(scores.shape[1], 8, replace=False)
    examples = [*strongest, *others]
    measured = leave_one_out(study, stage, examples).numpy()
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
    monkeypatch.setattr(training, "DENSE", 10)
    monkeypatch.setattr(training.Trainer, "whitening_at", None)  # it must not even be tried
    plain = Retrainer(study, tolerance=1e-6).losses_without("pretrain", [3])
    base = Retrainer(study, tolerance=1e-6).losses_without("pretrain", [])
    assert (whitened - base).abs().max() > 1e-4
    torch.testing.assert_close(plain - base, whitened - base, rtol=0.05, atol=1e-5)
