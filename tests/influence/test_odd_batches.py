"""Batches that models treat in ways of their own: routed, packed, of other precision, or normalised as a whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from minima import data, loss
from models import g
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from influence import Stage, Study, attribute
from influence.errors import LossError, StudyError


def scores(stage: Stage, **options) -> np.ndarray:
    return attribute(Study("one", [stage], stage.data), progress=False, **options).values


class Experts(nn.Module):
    """Every row goes to the expert that its first number names."""

    def __init__(self):
        super().__init__()
        self.enter, self.head = nn.Linear(4, 4), nn.Linear(4, 3)
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        chosen, x = (x[:, 0] > 0).int() + (x[:, 0] > 2).int(), torch.tanh(self.enter(x))
        mixed = torch.zeros_like(x)
        for k, expert in enumerate(self.experts):
            if (chosen == k).any():
                mixed[chosen == k] = expert(x[chosen == k])
        return self.head(torch.tanh(mixed))


@pytest.mark.parametrize("method", ["identity", "exact", "cg", "ekfac"])
def test_an_expert_with_a_single_row(method):
    """Which is that example's, not what all examples share."""
    torch.manual_seed(0)
    examples = data(9, 4, 3, g)
    examples.tensors[0][4, 0] = 3.0
    stage = Stage("stage", Experts().double(), loss, examples, l2=0.1)
    whole, alone = (scores(stage, method=method, batch_size=size) for size in (9, 1))
    np.testing.assert_allclose(whole, alone, atol=1e-4 * abs(alone).max())


class Texts(Dataset):
    def __init__(self, count: int):
        draw = torch.Generator().manual_seed(count)
        lengths = torch.randint(1, 7, (count,), generator=draw)
        self.rows = [torch.randint(7, (int(n),), generator=draw) for n in lengths]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i], int(self.rows[i].sum()) % 2


def packed(rows):
    return [nn.utils.rnn.pack_sequence([text for text, _ in rows], enforce_sorted=False), labels(rows)]


def padded(rows):
    return [nn.utils.rnn.pad_sequence([text for text, _ in rows], batch_first=True), labels(rows), lengths(rows)]


def labels(rows):
    return torch.tensor([label for _, label in rows])


def lengths(rows):
    return torch.tensor([len(text) for text, _ in rows])


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.embed, self.cell, self.head = nn.Embedding(7, 3), kind(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, batch):
        if len(batch) == 3:
            steps = nn.utils.rnn.pack_padded_sequence(
                self.embed(batch[0]), batch[2], batch_first=True, enforce_sorted=False
            )
        else:
            steps = batch[0]._replace(data=self.embed(batch[0].data))
        last = self.cell(steps)[1]
        return self.head((last[0] if isinstance(last, tuple) else last)[-1])


@pytest.mark.parametrize("collate", [packed, padded])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("method", ["exact", "cg", "ekfac"])
def test_packed_sequences(method, kind, collate):
    """Against texts one at a time, and unpacked."""
    torch.manual_seed(0)
    model = Recurrent(kind).double()
    stage = Stage("stage", model, loss, Texts(9), forward=lambda m, batch: m(batch), collate=collate, l2=0.1)
    found = scores(stage, method=method)
    plain = Stage(
        "stage", model, loss, Texts(9), l2=0.1,
        forward=lambda m, batch: m.head(m.cell(m.embed(batch[0]))[0][:, -1]),
    )  # fmt: skip
    alone = scores(plain, method=method, batch_size=1)
    np.testing.assert_allclose(found, alone, atol=1e-4 * abs(alone).max())


def test_targets_of_a_finer_precision_than_the_model():
    """The losses then are in double precision, but no more precise than the model, which rounds as it happens."""
    draw = torch.Generator().manual_seed(0)
    stage = Stage(
        "stage", nn.Linear(3, 1), lambda o, b: (o - b[1]) ** 2,
        TensorDataset(torch.randn(30, 3), torch.randn(30, dtype=torch.float64)), l2=0.1,
        forward=lambda m, batch: m(batch[0])[:, 0] * (1 + 1e-7 * torch.randn(len(batch[0]), generator=draw)),
    )  # fmt: skip
    assert np.isfinite(scores(stage)).all()


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
        scores(stage)


def test_batch_normalisation_without_running_statistics_is_told():
    model = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 3)).double()
    with pytest.raises(LossError, match="give batch normalisation running statistics"):
        scores(Stage("stage", model, loss, data(40, 3, 3, g), l2=0.1))


@pytest.mark.parametrize("count", [5, 40])
def test_data_that_change_are_told_from_it(count):
    class Noisy(TensorDataset):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x + torch.randn(3, dtype=torch.float64), y

    stage = Stage("stage", nn.Linear(3, 3).double(), loss, Noisy(*data(count, 3, 3, g).tensors), l2=0.1)
    with pytest.raises(StudyError, match="Its data change from one reading to the next"):
        scores(stage)
