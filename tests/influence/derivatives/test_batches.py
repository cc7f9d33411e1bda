"""Batches that are no plain tuples or dictionaries: on the device, and scored as plain ones are."""

from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils import _pytree as pytree

from influence import Stage, Study, attribute
from influence.derivatives.batches import on_device

META = torch.device("meta")


class Encoding(UserDict):
    """As a tokenizer's `BatchEncoding`: entries are attributes too, and it keeps something of its own."""

    def __init__(self, data, kind="words"):
        super().__init__(data)
        self.kind = kind

    def __getattr__(self, name):
        if name == "data":
            raise AttributeError
        return self.data[name]


@dataclass
class Graphs:
    """Moves itself, as batches of graphs do, and returns nothing."""

    x: Tensor
    y: Tensor

    def to(self, device):
        self.x, self.y = self.x.to(device), self.y.to(device)


def test_dictionaries_of_a_class_of_their_own():
    given = Encoding({"x": torch.zeros(2, 3), "words": ["a", "b"]}, kind="mine")
    there = on_device([given, 1], META)[0]
    assert isinstance(there, Encoding)
    assert (there.x.device, there.words, there.kind) == (META, ["a", "b"], "mine")
    assert given.x.device == torch.device("cpu")
    assert len(pytree.tree_leaves(there)) == 3


def test_objects_that_know_how_to_move():
    given = Graphs(torch.zeros(2, 3), torch.zeros(2))
    there = on_device({"graphs": given}, META)["graphs"]
    assert there.x.device == there.y.device == META
    assert given.x.device == torch.device("cpu")
    packed = on_device(pack_sequence([torch.zeros(3), torch.zeros(2)]), META)
    assert isinstance(packed, PackedSequence)
    assert (packed.data.device, packed.batch_sizes.device) == (META, torch.device("cpu"))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x, **_):
        return self.head(torch.tanh(self.enter(x)))


def test_every_kind_of_batch_has_the_scores_of_tuples():
    torch.manual_seed(0)
    model, data = Net().double(), [(torch.randn(4).double(), torch.tensor(i % 3)) for i in range(12)]

    def columns(rows):
        return torch.stack([x for x, _ in rows]), torch.stack([y for _, y in rows])

    kinds = {
        "tuple": (columns, None, lambda outputs, batch: cross_entropy(outputs, batch[1], reduction="none")),
        "encoding": (
            lambda rows: Encoding(dict(zip(("x", "y"), columns(rows), strict=True))),
            None,
            lambda outputs, batch: cross_entropy(outputs, batch.y, reduction="none"),
        ),
        "object": (
            lambda rows: Graphs(*columns(rows)),
            lambda model, batch: model(batch.x),
            lambda outputs, batch: cross_entropy(outputs, batch.y, reduction="none"),
        ),
    }
    for method in ("exact", "cg"):
        found = {}
        for kind, (collate, forward, loss) in kinds.items():
            stage = Stage("one", model, loss, data, collate=collate, forward=forward, l2=0.1)
            found[kind] = attribute(Study("one", [stage], data), method=method, progress=False)
        for kind in ("encoding", "object"):
            np.testing.assert_allclose(found[kind].values, found["tuple"].values, rtol=1e-5)
        assert not found["encoding"].report["notes"]  # taken apart example by example, as dictionaries are


@pytest.mark.parametrize("inside", [False, True])
def test_tensors_of_inference_mode_can_be_differentiated(inside):
    with torch.inference_mode(inside):
        x = torch.ones(2)
    assert not on_device((x,), torch.device("cpu"))[0].is_inference()
