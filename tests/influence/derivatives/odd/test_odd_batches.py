"""Batches that models treat in ways of their own: routed or packed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from minima import data, loss
from models import g
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset, TensorDataset

from influence import Stage, Study, attribute
from influence.derivatives.first.watch import Watch
from influence.derivatives.objective import objectives_of
from influence.derivatives.second import fisher
from influence.derivatives.second.samples import random_sides


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


def test_an_expert_without_a_rule_that_no_row_of_a_batch_is_sent_to():
    torch.manual_seed(0)
    examples = data(3, 4, 3, g)
    examples.tensors[0][:, 0] = -1.0
    (objective,) = objectives_of(Study("one", [Stage("stage", Experts().double(), loss, examples)], examples))
    watch = Watch(objective, objective.trained)
    watch.foreign = {"experts.2.weight", "experts.2.bias"}
    _, batch = next(objective.batches(examples))
    (weight,) = watch.factors(batch, 3)["experts.2.weight"]
    assert weight.gradients().shape == (3, 16)
    assert not weight.gradients().any()


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


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.cell, self.out = nn.Embedding(5, 3), nn.GRU(3, 3), nn.Linear(3, 5)

    def forward(self, x):
        return self.out(self.cell(self.table(x.T))[0])


def test_random_gradients_of_outputs_whose_first_dimension_is_time(monkeypatch):
    """Of a cell without a layer rule, against each example's own backward pass."""
    torch.manual_seed(0)
    words = TensorDataset(torch.randint(5, (4, 6), generator=g))
    model = TimeFirst().double()
    stage = Stage("time", model, lambda o, b: cross_entropy(o.permute(1, 2, 0), b[0], reduction="none").sum(1), words)
    drawn = []
    keep = lambda *a: (drawn.append(random_sides(*a)), drawn[-1])[1]  # noqa: E731
    monkeypatch.setattr(fisher, "random_sides", keep)
    (objective,) = objectives_of(Study("one", [stage], words))
    ((count, factors),) = fisher.Fisher(objective).factors()
    (side,) = drawn[0].sides
    assert count == 4
    for name in ("cell.weight_hh_l0", "out.weight"):
        rows = sum(factor.gradients() for factor in factors[name])
        for i in range(count):
            along = (model(words.tensors[0])[:, i] * side[:, i]).sum()
            (expected,) = torch.autograd.grad(along, model.get_parameter(name))
            torch.testing.assert_close(rows[i], expected.flatten())
