"""What the rows of the other files are made of."""

from __future__ import annotations

import torch
from comparison import DIRECT, Setup
from torch import nn
from torch.nn import functional as fn

M, Q, WIDTH, WORDS, CLASSES = 12, 3, 4, 7, 3


def setup(model, loss, examples, **rest):
    return Setup(model, loss, examples[:M], examples[M:], **({"methods": DIRECT} | rest))


def network(outputs=CLASSES, inputs=WIDTH):
    return nn.Sequential(nn.Linear(inputs, 5), nn.Tanh(), nn.Linear(5, outputs))


def cross_entropy(o, y, **options):
    return fn.cross_entropy(o, y, reduction="none", **options)


def over_classes(o, b):
    return cross_entropy(o, b[1])


def every(model, batch):
    """All of a batch goes into the model."""
    return model(*batch)


def but_last(model, batch):
    return model(*batch[:-1])


def classified(x, classes=CLASSES):
    return [(row, torch.tensor(i % classes)) for i, row in enumerate(x)]


def rows(*shape, classes=CLASSES):
    return classified(torch.randn(M + Q, *(shape or (WIDTH,))), classes)


class Module(nn.Module):
    """A model of parts and a function of them: `Module(call, a=nn.Linear(...))`, `call(parts, *inputs)`."""

    def __init__(self, call, **parts):
        super().__init__()
        self.call = call
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs):
        return self.call(self, *inputs)


def measured(outputs, loss):
    return lambda: setup(network(outputs), loss, [(x, x.sum()) for x in torch.randn(M + Q, WIDTH)])
