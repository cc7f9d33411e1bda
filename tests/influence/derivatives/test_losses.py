"""Losses that are not finite, fixed, or each its example's own are refused; those that merely round are taken."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from minima import data, loss
from models import g, objective_of
from torch import nn
from torch.nn import functional as fn
from torch.utils.data import TensorDataset

from influence import Stage, Study, attribute
from influence.derivatives.losses import checked_losses
from influence.errors import LossError, StudyError


def scored(stage: Stage) -> np.ndarray:
    return attribute(Study("one", [stage], stage.data), progress=False).values


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            lambda o, b: loss(o, b).mean(),
            r"shape \(\), expected one value per example, shape \(9,\). Use reduction='none'",
        ),
        (lambda o, b: torch.stack([loss(o, b)] * 2, 1), r"shape \(9, 2\), expected one value per example"),
        (lambda o, b: 1.0, "gave a float"),
        (lambda o, b: torch.where(torch.arange(9) == 4, torch.nan, loss(o, b)), "loss of example 4 is nan"),
    ],
)
def test_losses_that_are_not_one_finite_number_per_example(bad, message):
    stage = Stage("bad", nn.Linear(3, 3).double(), bad, data(9, 3, 3, g), l2=0.1)
    with pytest.raises(LossError, match=message):
        attribute(Study("bad", [stage], stage.data), progress=False)


def test_data_that_the_model_cannot_take_is_named():
    stage = Stage("one", nn.Linear(3, 3).double(), loss, data(9, 3, 3, g), l2=0.1)
    with pytest.raises(LossError, match="'one': its model or loss failed on the queries: RuntimeError: mat1 and mat2"):
        attribute(Study("wide", [stage], data(4, 5, 3, g)), progress=False)
    stage = Stage("one", nn.Linear(3, 3).double(), loss, [(torch.ones(3), None)], l2=0.1)
    with pytest.raises(LossError, match="'one': its model or loss failed on its training examples: TypeError"):
        attribute(Study("none", [stage], data(4, 3, 3, g)), progress=False)


def only(condition, text):
    """A forward that raises unless the condition holds for the batch's inputs and the model's outputs."""

    def forward(model, batch):
        assert condition(batch[0], model(batch[0])), text
        return model(batch[0])

    return forward


@pytest.mark.parametrize("method", ["cg", "ekfac", "identity", "exact"])
@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            {"forward": only(lambda x, o: not (x == 7).any(), "seven is out of range")},
            "its training examples: AssertionError: seven .*Its model or `forward` raised this at positions 4 to 7",
        ),
        (
            {"forward": only(lambda x, o: len(x) > 3, "batches of four")},
            "training examples: AssertionError: batches of four.*model or `forward` raised this at positions 8 to 8",
        ),
        (
            {"loss": lambda o, b: loss(o, b)[[0, 1, 2, 3]]},
            "training examples: IndexError: index 1 is out of bounds.*Its loss raised this at positions 8 to 8",
        ),
        (
            {"collate": lambda items: {}["input_ids"]},
            "training examples: KeyError: 'input_ids'.*Its data or `collate` raised this at positions 0 to 3",
        ),
        (
            {"forward": only(lambda x, o: not o.requires_grad, "no graph, please")},
            "Stage 'one': its model or `forward` raised AssertionError: no graph, please. It did so with gradients on",
        ),
        (
            {"forward": lambda m, b: torch.from_numpy(m(b[0]).numpy())},
            "Stage 'one': its model or `forward` raised RuntimeError: Can't call numpy.* conversions to numpy",
        ),
        (
            {"loss": lambda o, b: loss(o, b) + ({}["x"] if o.requires_grad else 0)},
            "Stage 'one': its loss raised KeyError: 'x'. It did so with gradients on",
        ),
    ],
)  # fmt: skip
def test_an_exception_of_the_users_own_code_is_told_as_it_is(method, part, message):
    examples = data(9, 3, 3, g)
    examples.tensors[0][6, 1] = 7
    stage = Stage("one", nn.Linear(3, 3).double(), **({"loss": loss, "data": examples, "l2": 0.1} | part))
    study = Study("own", [stage], torch.utils.data.Subset(examples, range(4)))
    with pytest.raises(LossError) as told:
        attribute(study, method=method, batch_size=4, progress=False)
    said = str(told.value).replace("failed on the queries", "failed on its training examples")
    assert re.search(message, said, re.DOTALL), said
    assert "torch cannot differentiate" not in str(told.value)


def test_a_model_that_is_random_in_evaluation_mode_is_refused():
    stage = Stage(
        "random", nn.Linear(3, 3).double(), loss, data(9, 3, 3, g), l2=0.1,
        forward=lambda model, batch: nn.functional.dropout(model(batch[0]), 0.5),
    )  # fmt: skip
    with pytest.raises(LossError, match="the same batch gave two different losses"):
        attribute(Study("random", [stage], stage.data), progress=False)


def test_a_loss_that_differs_by_rounding_from_time_to_time_is_taken():
    draw = torch.Generator().manual_seed(0)
    stage = Stage(
        "rounding", nn.Linear(3, 3).double(), loss, data(9, 3, 3, g), l2=0.1,
        forward=lambda model, batch: model(batch[0]) + 1e-15 * torch.randn(3, dtype=torch.float64, generator=draw),
    )  # fmt: skip
    with torch.no_grad():
        assert not torch.equal(*(stage.forward(stage.model, stage.data.tensors) for _ in range(2)))
    assert checked_losses(objective_of(stage), stage.data).isfinite().all()


def test_targets_of_a_finer_precision_than_the_model():
    """The losses then are in double precision, but no more precise than the model, which rounds as it happens."""
    draw = torch.Generator().manual_seed(0)
    stage = Stage(
        "stage", nn.Linear(3, 1), lambda o, b: (o - b[1]) ** 2,
        TensorDataset(torch.randn(30, 3), torch.randn(30, dtype=torch.float64)), l2=0.1,
        forward=lambda m, batch: m(batch[0])[:, 0] * (1 + 1e-7 * torch.randn(len(batch[0]), generator=draw)),
    )  # fmt: skip
    assert np.isfinite(scored(stage)).all()


class OverTheBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x):
        return self.head(x - x.mean(0))


@pytest.mark.parametrize("count", [5, 16, 40, 600])
def test_a_loss_that_depends_on_the_rest_of_the_batch_is_told(count):
    stage = Stage("stage", OverTheBatch().double(), loss, data(count, 3, 3, g), l2=0.1)
    with pytest.raises(LossError, match=r"example \d+ has the loss .* among some examples and .* among others"):
        scored(stage)


def over_the_labelled(outputs, batch):
    """The sum over a batch's labels is divided by their number, and multiplied by that of all examples."""
    labelled = batch[1] >= 0
    return fn.cross_entropy(outputs, batch[1], reduction="none", ignore_index=-1) * len(labelled) / labelled.sum()


@pytest.mark.parametrize(("count", "places"), [(9, (2, 5)), (600, (300,)), (600, (100, 300, 500))])
def test_labels_left_out_of_a_mean_over_the_batch_are_told(count, places):
    """Batches whose shares of labels left out happen to be the same, and labels left out far from the ends."""
    x, y = data(count, 3, 3, g).tensors
    y[list(places)] = -1
    stage = Stage("stage", nn.Linear(3, 3).double(), over_the_labelled, TensorDataset(x, y), l2=0.1)
    with pytest.raises(LossError, match="among some examples"):
        attribute(Study("one", [stage], TensorDataset(x[:1], y[:1])), method="identity", batch_size=4 * count // 9)


def test_a_branch_on_the_mean_of_the_batch_is_told():
    def forward(model, batch):
        return model(batch[0]) if batch[0].mean() > 0 else -model(batch[0])

    x, y = torch.ones(9, 3, dtype=torch.float64), torch.arange(9) % 3
    x[5:] = -1.1  # the mean of all is positive, that of most pairs is not
    stage = Stage("stage", nn.Linear(3, 3).double(), loss, TensorDataset(x, y), forward=forward, l2=0.1)
    with pytest.raises(LossError, match="among some examples"):
        scored(stage)


def test_batch_normalisation_without_running_statistics_is_told():
    model = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 3)).double()
    with pytest.raises(LossError, match="give batch normalisation running statistics"):
        scored(Stage("stage", model, loss, data(40, 3, 3, g), l2=0.1))


def test_labels_that_broadcast_are_told():
    stage = Stage("stage", nn.Linear(3, 1).double(), lambda o, b: (o - b[1]).square().mean(1), data(12, 3, 3, g))
    with pytest.raises(LossError, match="compare outputs with labels of the same shape"):
        scored(stage)


@pytest.mark.parametrize("count", [5, 40])
def test_data_that_change_are_told_from_it(count):
    class Noisy(TensorDataset):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x + torch.randn(3, dtype=torch.float64), y

    stage = Stage("stage", nn.Linear(3, 3).double(), loss, Noisy(*data(count, 3, 3, g).tensors), l2=0.1)
    with pytest.raises(StudyError, match="Its data change from one reading to the next"):
        scored(stage)
