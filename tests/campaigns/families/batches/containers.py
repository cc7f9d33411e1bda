"""Forms of a batch and of a data set."""

from __future__ import annotations

from collections import UserDict, namedtuple
from dataclasses import dataclass, replace

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as fn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset, default_collate

from families.batches.parts import CLASSES, WIDTH, M, Q, network, over_classes, setup

Pair = namedtuple("Pair", ("x", "y"))


def rows():
    return [(x, torch.tensor(i % CLASSES)) for i, x in enumerate(torch.randn(M + Q, WIDTH))]


def plain(**rest):
    return setup(network(), over_classes, rows(), **rest)


def dicts(key="x", kind=dict, **rest):
    """Batches of a mapping, which the user's forward takes apart."""
    examples = [{key: x, "y": y} for x, y in rows()]
    return setup(
        network(),
        lambda o, b: fn.cross_entropy(o, b["y"], reduction="none"),
        examples,
        forward=lambda m, b: m(b[key]),
        collate=None if kind is dict else lambda e: kind(default_collate(e)),
        **rest,
    )


def of_fields(kind):
    """Batches with fields."""
    return setup(
        network(),
        lambda o, b: fn.cross_entropy(o, b.y, reduction="none"),
        rows(),
        forward=lambda m, b: m(b.x),
        collate=lambda e: kind(*default_collate(e)),
    )


@dataclass
class Fields:
    x: Tensor
    y: Tensor


class Movable:
    """Knows how to move, as batches of torch_geometric do."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def to(self, *where, **how):
        return Movable(self.x.to(*where, **how), self.y.to(*where, **how))


def default_with_labels():
    """A model of Hugging Face called with its labels, and a loss of its logits."""
    config = transformers.BertConfig(
        vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=2, intermediate_size=5, num_labels=CLASSES
    )
    examples = [
        {
            "input_ids": torch.randint(1, 9, (5,)),
            "attention_mask": torch.ones(5).long(),
            "labels": torch.tensor(i % CLASSES),
        }
        for i in range(M + Q)
    ]
    return setup(
        transformers.BertForSequenceClassification(config),
        lambda o, b: fn.cross_entropy(o.logits, b["labels"], reduction="none"),
        examples,
    )


def ragged_words():
    """Padded to the longest of each batch, so that shapes differ from batch to batch."""

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.out = nn.Embedding(7, WIDTH, padding_idx=0), nn.Linear(WIDTH, CLASSES)

        def forward(self, x):
            seen = (x > 0)[..., None]
            return self.out((torch.tanh(self.table(x)) * seen).sum(1) / seen.sum(1))

    def collate(examples):
        words, labels = zip(*examples, strict=True)
        return pad_sequence(words, batch_first=True), torch.stack(labels)

    examples = [(torch.randint(1, 7, (1 + i % 5,)), torch.tensor(i % CLASSES)) for i in range(M + Q)]
    return setup(Tagger(), over_classes, examples, collate=collate)


def nested():
    """Batches of tuples in lists in dicts."""
    examples = [{"in": (x, [x.flip(0)]), "y": {"class": y}} for x, y in rows()]
    return setup(
        network(),
        lambda o, b: fn.cross_entropy(o, b["y"]["class"], reduction="none"),
        examples,
        forward=lambda m, b: m(b["in"][0] + b["in"][1][0].square()),
    )


class Parts(Dataset):
    """A data set of the user's own that reads when it is asked."""

    def __init__(self, examples):
        self.examples = examples

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, i):
        return self.examples[i]


def held(kind):
    """The same examples in another container."""
    made = plain()
    return replace(made, data=kind(made.examples))


def tensors(examples):
    return TensorDataset(*map(torch.stack, zip(*examples, strict=True)))


def weighted():
    """A weight an example, as a third entry."""
    examples = [(x, y, torch.rand(())) for x, y in rows()]
    return setup(network(), lambda o, b: b[2] * fn.cross_entropy(o, b[1], reduction="none"), examples)


def mixing():
    """A loss against the other examples of the batch has no value an example."""
    model = nn.Linear(WIDTH, WIDTH)
    return setup(model, lambda o, b: fn.cross_entropy(o @ o.T, torch.arange(len(o)), reduction="none"), rows())


class Named(nn.Module):
    """Called by the names of the batch's entries, as models of Hugging Face are."""

    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, x, y):
        return self.body(x)


BATCHES = {
    "tuples": plain,
    "dicts": dicts,
    "dicts by name": lambda: setup(
        Named(), lambda o, b: fn.cross_entropy(o, b["y"], reduction="none"), [{"x": x, "y": y} for x, y in rows()]
    ),
    "UserDict": lambda: dicts(kind=UserDict),
    "BatchEncoding": lambda: dicts(kind=transformers.BatchEncoding),
    "named tuples": lambda: of_fields(Pair),
    "dataclasses": lambda: of_fields(Fields),
    "objects that know .to(device)": lambda: of_fields(Movable),
    "nested": nested,
    "a weight an example": weighted,
    "Hugging Face, labels in the batch": default_with_labels,
    "padded to the longest": ragged_words,
    "TensorDataset": lambda: held(tensors),
    "Dataset": lambda: held(Parts),
    "Subset": lambda: held(lambda e: Subset(Parts(e), range(len(e)))),
    "ConcatDataset": lambda: held(lambda e: ConcatDataset([Parts(e[:4]), Parts(e[4:])])),
}
TOLD = {
    "a loss over the batch": (mixing, "batch|other examples"),
}
