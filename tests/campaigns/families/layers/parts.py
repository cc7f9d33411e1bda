"""What the rows of the other files are made of."""

from __future__ import annotations

import torch
from comparison import DIRECT, Setup
from torch import nn
from torch.nn import functional as fn

M, Q, WIDTH, CLASSES = 9, 3, 4, 3


class Body(nn.Module):
    """A linear layer, the layer that is tried, a mean over whatever is left, a head."""

    def __init__(self, layer, width=WIDTH, first=True):
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH) if first else nn.Identity()
        self.layer, self.head = layer, nn.Linear(width, CLASSES)

    def forward(self, x):
        h = self.layer(self.first(x))
        h = h[0] if isinstance(h, tuple) else h
        return self.head(h.reshape(len(h), -1, self.head.in_features).mean(1))


class Channels(nn.Module):
    """Pictures, series or volumes: the layer that is tried, a mean over places, a head."""

    def __init__(self, layer, channels=3):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(channels, CLASSES)

    def forward(self, x):
        return self.head(torch.tanh(self.layer(x)).flatten(2).mean(2))


def setup(model, x, **rest):
    examples = [(row, torch.tensor(i % CLASSES)) for i, row in enumerate(x)]
    return Setup(
        model,
        lambda o, b: fn.cross_entropy(o, b[1], reduction="none"),
        examples[:M],
        examples[M:],
        **({"methods": DIRECT} | rest),
    )


def rows(layer, width=WIDTH, **rest):
    return lambda: setup(Body(layer(), width), torch.randn(M + Q, WIDTH), **rest)


def series(layer, width=WIDTH, **rest):
    """Five places of WIDTH numbers."""
    return lambda: setup(Body(layer(), width), torch.randn(M + Q, 5, WIDTH), **rest)


def places(layer, *shape, channels=3, **rest):
    """Two channels on a grid."""
    return lambda: setup(Channels(layer(), channels), torch.randn(M + Q, 2, *shape), **rest)


class Module(nn.Module):
    """A layer from parameters and a function."""

    def __init__(self, call, **shapes):
        super().__init__()
        self.call = call
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape) / 2))

    def forward(self, x):
        return self.call(self, x)
