"""Which label the other examples speak for: against an optimiser of its own, and labels that were flipped."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from minima import Net, data, loss, minimise
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.data import TensorDataset

from influence import Stage, Study, own_relabel_scores
from influence.errors import MethodError, StudyError

COUNT, CLASSES, STEP = 60, 3, 1e-4
OPTIONS = {"method": "exact", "curvature": "hessian", "progress": False}


@pytest.fixture(scope="module")
def stage():
    torch.manual_seed(0)
    found = Stage("pretrain", Net(CLASSES), loss, data(COUNT, 3, CLASSES, torch.Generator().manual_seed(2)), l2=0.1)
    minimise(found, {})
    return found


def study(stage):
    return Study("one", [stage], stage.data)


def outputs(stage, row, weight):
    """Of one example, by the model trained with it at a weight."""
    weights = torch.ones(COUNT, dtype=torch.float64)
    weights[row] = weight
    before = {name: value.clone() for name, value in stage.model.state_dict().items()}
    minimise(stage, {}, weights)
    with torch.no_grad():
        found = stage.model(stage.data.tensors[0][row : row + 1])
    stage.model.load_state_dict(before)
    return found


def test_labels_are_judged_by_the_model_without_the_example(stage):
    found = own_relabel_scores(study(stage), **OPTIONS)
    assert found.values.shape == (COUNT, CLASSES)
    assert found.stage == "pretrain"
    labels = stage.data.tensors[1]
    assert not found.values[np.arange(COUNT), labels.numpy()].any()
    for row in (0, 11, COUNT - 1):
        here = outputs(stage, row, 1.0)
        moved = here + (outputs(stage, row, 1 - STEP) - here) / STEP  # all of its weight, to first order
        losses = -moved.log_softmax(1)[0]
        np.testing.assert_allclose(found.values[row], losses - losses[labels[row]], rtol=2e-3, atol=1e-5)


def test_flipped_labels_lead_and_their_best_label_is_the_true_one():
    torch.manual_seed(0)
    x, rule = torch.randn(COUNT, 3, dtype=torch.float64), torch.randn(3, CLASSES, dtype=torch.float64)
    truth, flipped = (x @ rule).argmax(1), torch.tensor([4, 20, 33])
    given = truth.clone()
    given[flipped] = (given[flipped] + 1) % CLASSES
    other = Stage("pretrain", nn.Linear(3, CLASSES).double(), loss, TensorDataset(x, given), l2=0.02)
    minimise(other, {})
    values = own_relabel_scores(study(other), **OPTIONS).values
    assert roc_auc_score(np.isin(np.arange(COUNT), flipped), -values.min(1)) > 0.95
    assert (values[flipped].argmin(1) == truth[flipped].numpy()).all()


@pytest.mark.parametrize("method", ["ekfac", "identity"])
def test_methods_of_a_product_or_two_are_taken(stage, method):
    assert np.isfinite(own_relabel_scores(study(stage), method=method, progress=False).values).all()


def test_what_cannot_be_told_is_named(stage):
    with pytest.raises(MethodError, match="60 examples, for each of which method 'cg' would solve"):
        own_relabel_scores(study(stage), progress=False)
    numbers = TensorDataset(stage.data.tensors[0], torch.randn(COUNT, 1, dtype=torch.float64))
    regression = Stage("pretrain", Net(1), lambda z, b: (z - b[1]).square().sum(1), numbers, l2=0.1)
    with pytest.raises(StudyError, match="has no classes"):
        own_relabel_scores(Study("one", [regression], numbers), method="exact", progress=False)
