"""Embedding bags opened: torch's own numbers, every derivative, and the scores of the same model written otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset, TensorDataset

from influence import Stage, Study, attribute
from influence.derivatives.kernels.plain_gradients import PlainGradients

g = torch.Generator().manual_seed(0)
WEIGHT = torch.randn(7, 3, generator=g, dtype=torch.float64)
ROWS = torch.randint(7, (5, 4), generator=g)
FLAT = torch.randint(7, (12,), generator=g)
EMPTY_BAGS = torch.tensor([0, 3, 3, 8, 12])
SHARES = torch.rand(12, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 2, -1])
@pytest.mark.parametrize(
    "given",
    [
        {"input": ROWS},
        {"input": FLAT, "offsets": EMPTY_BAGS},
        {"input": FLAT, "offsets": EMPTY_BAGS, "include_last_offset": True},
        {"input": FLAT.int(), "offsets": torch.tensor([0, 5]).int()},
        {"input": FLAT[:0], "offsets": torch.tensor([0, 0])},
    ],
    ids=["rows", "offsets", "last", "int32", "nothing"],
)
def test_the_numbers_are_torchs(given, mode, padding):
    def values(weight):
        return functional.embedding_bag(weight=weight, mode=mode, padding_idx=padding, **given)

    expected = values(weight := WEIGHT.clone().requires_grad_())
    sides = torch.randn(expected.shape, generator=g, dtype=torch.float64)
    (slope,) = torch.autograd.grad(expected, weight, sides)
    with PlainGradients():
        found = values(weight)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, weight, sides)[0], slope)


@pytest.mark.parametrize(
    "given",
    [
        {"input": ROWS, "per_sample_weights": SHARES[:4].repeat(5, 1)},
        {"input": FLAT, "offsets": EMPTY_BAGS, "per_sample_weights": SHARES},
    ],
    ids=["rows", "offsets"],
)
def test_weighted_members(given):
    expected = functional.embedding_bag(weight=WEIGHT, mode="sum", **given)
    with PlainGradients():
        torch.testing.assert_close(functional.embedding_bag(weight=WEIGHT, mode="sum", **given), expected)


def test_second_derivatives():
    with PlainGradients():
        assert torch.autograd.gradgradcheck(
            lambda w: functional.embedding_bag(FLAT, w, EMPTY_BAGS).square().sum(1), WEIGHT.clone().requires_grad_()
        )


class Sentences(Dataset):
    """Texts of several lengths with a label."""

    def __init__(self, count: int, classes: int):
        draw = torch.Generator().manual_seed(count)
        self.rows = [torch.randint(7, (int(n),), generator=draw) for n in torch.randint(1, 6, (count,), generator=draw)]
        self.labels = torch.randint(classes, (count,), generator=draw)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i], self.labels[i]


def by_offsets(rows):
    """Texts one after the other, as torch's tutorial on text classification has them."""
    lengths = [len(text) for text, _ in rows]
    return (
        torch.cat([text for text, _ in rows]),
        torch.tensor([0, *lengths[:-1]]).cumsum(0),
        torch.stack([label for _, label in rows]),
    )


def padded(rows):
    texts = nn.utils.rnn.pad_sequence([text for text, _ in rows], batch_first=True)
    held = nn.utils.rnn.pad_sequence([torch.ones(len(text)) for text, _ in rows], batch_first=True)
    return texts, held, torch.stack([label for _, label in rows])


class Bags(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(7, 3), nn.Linear(3, classes)

    def forward(self, text, offsets):
        return self.head(torch.tanh(self.bag(text, offsets)))


class ByHand(Bags):
    """The same function by an embedding and a mean."""

    def forward(self, text, held):
        rows = functional.embedding(text, self.bag.weight) * held[..., None]
        return self.head(torch.tanh(rows.sum(1) / held.sum(1, keepdim=True)))


@pytest.mark.parametrize("method", ["exact", "cg", "ekfac", "identity"])
@pytest.mark.parametrize("frozen", [(), ("bag.*",)], ids=["updated", "frozen"])
def test_scores_through_bags(method, frozen):
    """Across stages, where the model's second derivatives are needed; texts of a batch lie one after the other."""
    found = []
    for kind, collate in ((Bags, by_offsets), (ByHand, padded)):
        torch.manual_seed(0)
        old, new = kind(2).double(), kind(3).double()
        new.bag.load_state_dict(old.bag.state_dict())
        stages = [
            Stage(
                name, model, lambda o, b: cross_entropy(o, b[2], reduction="none"), Sentences(count, classes), l2=0.1,
                forward=lambda model, b: model(b[0], b[1]), collate=collate, **more,
            )
            for name, model, count, classes, more in (
                ("old", old, 9, 2, {}), ("new", new, 8, 3, {"frozen": frozen, "proximity": 0.1})
            )
        ]  # fmt: skip
        scores = attribute(Study("bags", stages, Sentences(4, 3)), method=method, batch_size=5, progress=False)
        assert not scores.report["without_rule"]
        found.append(scores.values)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3, atol=1e-5 * abs(found[1]).max())


def test_bags_of_equal_length_have_a_rule():
    torch.manual_seed(0)
    model = nn.Sequential(nn.EmbeddingBag(7, 3, padding_idx=0), nn.Linear(3, 2))
    data = TensorDataset(ROWS, ROWS[:, 0] % 2)
    stage = Stage("one", model, lambda o, b: cross_entropy(o, b[1], reduction="none"), data, l2=0.1)
    assert not attribute(Study("bags", [stage], data), method="exact", progress=False).report["without_rule"]
