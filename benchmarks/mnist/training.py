"""Digits, the two models of dattri's MNIST-10 benchmark, and their training.

Source: Deng et al. 2024, "dattri: A Library for Efficient Data Attribution", and its package's trainings of MNIST.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import Stage, Study
from influence.studies.shipped import shipped_file

MEAN, SPREAD = 0.1307, 0.3081
"""Of MNIST's pixels, which are 0 to 1."""
BATCH = 64


@dataclasses.dataclass(frozen=True)
class Network:
    """One of the benchmark's models, and how it is trained by plain SGD."""

    name: str
    make: Callable[[], nn.Module]
    epochs: int
    rate: float
    momentum: float

    def damping(self, examples: int) -> float:
        """One over the sum of all steps' lengths: directions of less curvature have hardly been trained by the end.

        Gradient flow over a time t leaves of a direction with curvature c what damping of 1 / t leaves, to first order.
        """
        steps = self.epochs * -(-examples // BATCH)
        return (1 - self.momentum) / (self.rate * steps)


def _perceptron() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(784, 128), nn.ReLU(), nn.Dropout(0.1)),
        *(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.1)),
        nn.Linear(64, 10),
    )


NETWORKS = {
    "lr": Network("lr", lambda: nn.Sequential(nn.Linear(784, 10)), epochs=20, rate=0.01, momentum=0.0),
    "mlp": Network("mlp", _perceptron, epochs=50, rate=0.01, momentum=0.9),
}


@dataclasses.dataclass(frozen=True)
class Digits:
    """Digits to train on, (m, 784) and classes (m,), and test digits (Q, 784) and (Q,)."""

    pixels: Tensor
    labels: Tensor
    test_pixels: Tensor
    test_labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def losses(self, model: nn.Module) -> np.ndarray:
        """Of every test digit, (Q,), nats."""
        with torch.no_grad():
            return cross_entropy(model(self.test_pixels), self.test_labels, reduction="none").numpy()


def digits(train: int, test: int) -> Digits:
    """So many of the 5,000 digits that are shipped, drawn once."""
    with np.load(shipped_file("digits/mnist_5k.npz"), allow_pickle=False) as file:
        pixels, labels = torch.from_numpy(file["X"]).reshape(-1, 784), torch.from_numpy(file["y"])
    drawn = torch.from_numpy(np.random.default_rng(0).permutation(len(labels))[: train + test])
    x, y = (pixels[drawn].float() / 255 - MEAN) / SPREAD, labels[drawn]
    return Digits(x[:train], y[:train], x[train:], y[train:])


def trained(network: Network, data: Digits, kept: Sequence[int] | None, seed: int, shuffled: bool = True) -> nn.Module:
    """A model from a random start on the digits `kept` (default all), its start, order and dropout by the seed."""
    rows = torch.arange(len(data)) if kept is None else torch.as_tensor(kept)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network.make()
        optimiser = torch.optim.SGD(model.parameters(), network.rate, network.momentum)
        for _ in range(network.epochs):
            order = rows[torch.randperm(len(rows))] if shuffled else rows
            for batch in order.split(BATCH):
                optimiser.zero_grad()
                cross_entropy(model(data.pixels[batch]), data.labels[batch]).backward()
                optimiser.step()
    return model.eval()


def study_of(network: Network, data: Digits, model: nn.Module) -> Study:
    """The study of a single stage."""
    train = TensorDataset(data.pixels, data.labels)
    stage = Stage("digits", model, lambda outputs, batch: cross_entropy(outputs, batch[1], reduction="none"), train)
    return Study(f"mnist10-{network.name}", [stage], TensorDataset(data.test_pixels, data.test_labels))
