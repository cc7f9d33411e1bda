"""Small models with all kinds of layers, data for them, and reference gradients by plain autograd."""

from __future__ import annotations

import numpy as np
import torch
from minima import data, loss
from torch import nn
from torch.utils.data import TensorDataset

from influence import Stage, Study, attribute
from influence.derivatives import Objective
from influence.derivatives.objective import objectives_of

g = torch.Generator().manual_seed(0)


def images(count: int) -> TensorDataset:
    return TensorDataset(
        torch.randn(count, 1, 6, 6, generator=g, dtype=torch.float64), torch.randint(3, (count,), generator=g)
    )


def words(count: int) -> TensorDataset:
    return TensorDataset(torch.randint(7, (count, 5), generator=g), torch.randint(3, (count,), generator=g))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.cell, self.head = nn.Embedding(7, 3), nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.cell(self.embed(x))[0].mean(1))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, activation="gelu", batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.layer(self.embed(x)).mean(1))


class Tied(nn.Module):
    """The output layer is the embedding."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.out = nn.Embedding(7, 3), nn.Linear(3, 3), nn.Linear(3, 7, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x):
        return self.out(torch.tanh(self.mix(self.embed(x).mean(1))))


class Unused(nn.Module):
    """A parameter that gets no gradient."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(3, 3), nn.Linear(2, 2)

    def forward(self, x):
        return self.used(x)


def convolutional(*extra: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), *extra, nn.Tanh(), nn.Flatten(), nn.Linear(32, 3))


class Spectral(nn.Module):
    """Real parameters that are put together to complex ones."""

    def __init__(self):
        super().__init__()
        self.real, self.imaginary = nn.Parameter(torch.randn(2)), nn.Parameter(torch.randn(2))

    def forward(self, x):
        return torch.fft.irfft(torch.fft.rfft(x) * torch.complex(self.real, self.imaginary), n=3)


MODELS = {
    "complex tensors of real parameters": (Spectral, lambda n: data(n, 3, 3, g)),
    "dense": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), lambda n: data(n, 3, 3, g)),
    "convolutions": (lambda: convolutional(), images),
    "batch norm in evaluation mode, dropout": (lambda: convolutional(nn.BatchNorm2d(2), nn.Dropout(0.5)), images),
    "LSTM": (Recurrent, words),
    "transformer": (Attention, words),
    "tied weights": (Tied, words),
    "unused parameter": (Unused, lambda n: data(n, 3, 3, g)),
}


def objective_of(stage: Stage, **options) -> Objective:
    return objectives_of(Study("one", [stage], stage.data), **options)[0]


def flat_gradient(stage: Stage, positions: list[int]) -> torch.Tensor:
    """Gradient of the summed loss by plain autograd on the user's own model."""
    model = stage.model.eval()
    batch = [t[positions] for t in stage.data.tensors]
    total = loss(model(batch[0]), batch).sum()
    gradients = torch.autograd.grad(total, list(model.parameters()), allow_unused=True, create_graph=True)
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if d is None else d.flatten()
            for p, d in zip(model.parameters(), gradients, strict=True)
        ]
    )


def scores_of(model: nn.Module, **options) -> np.ndarray:
    """The scores of a linear layer, or of what should be as good as one."""
    examples = data(9, 3, 3, torch.Generator().manual_seed(0))
    return attribute(
        Study("one", [Stage("stage", model, loss, examples, l2=0.1)], examples), progress=False, **options
    ).values
