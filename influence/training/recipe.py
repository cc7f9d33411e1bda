"""`Recipe`: optimiser, steps, learning rate and order of a mini-batch training, as pure functions.

The state of an optimiser is one tensor (K, T) over the stage's T trained parameters. Row 0 has the parameters, the
other rows the optimiser's memory: a velocity (sgd), or the two moments (adam).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from influence.errors import TrainingError

BATCH = 128
RATE = 2e-3

STATE_VECTORS = {"sgd": 2, "adam": 3}
"""Rows K of each optimiser's state."""
WINDOW = 50
"""Examples are sorted by length within windows of this many batches."""


@dataclass(frozen=True)
class Recipe:
    """How to train a stage. Recipe, start and data determine the training bit by bit.

    Args:
        steps: optimiser steps.
        batch_size: examples a step. Epochs follow each other without a gap, so every batch is full.
        learning_rate: the highest.
        optimiser: "sgd" or "adam". The stage's l2 term is part of the gradient, not decoupled.
        momentum: of sgd.
        betas: of adam: decay rates of the first and the second moment.
        eps_root: of adam, *under* the root: the step is m / sqrt(v + eps_root), in the gradient's units squared. The
            usual sqrt(v) + eps has an infinite derivative at v = 0, where parameters without a gradient so far are. A
            larger value makes training a smoother function of its data.
        warmup: steps over which the learning rate rises linearly to its highest.
        decay: whether the rate then falls linearly towards 0, which it would reach one step after the last.
        seed: of the order of the examples.

    Raises:
        TrainingError: a value is out of range.
    """

    steps: int
    batch_size: int
    learning_rate: float
    optimiser: str = "sgd"
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    eps_root: float = 1e-8
    warmup: int = 0
    decay: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.optimiser not in STATE_VECTORS:
            raise TrainingError(f"There is no optimiser {self.optimiser!r}; choose one of {', '.join(STATE_VECTORS)}.")
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise TrainingError(f"Recipe: {name} is {getattr(self, name)!r}, expected at least 1.")
        for name in ("learning_rate", "eps_root"):
            if not 0 < getattr(self, name) < math.inf:
                raise TrainingError(f"Recipe: {name} is {getattr(self, name)!r}, expected a finite number above 0.")
        if not all(0 <= kept < 1 for kept in (self.momentum, *self.betas)):
            raise TrainingError(
                f"Recipe: momentum is {self.momentum!r} and betas are {self.betas!r}, expected "
                "numbers from 0 to below 1."
            )
        if not 0 <= self.warmup <= self.steps:
            raise TrainingError(f"Recipe: warmup is {self.warmup!r}, expected 0 to the {self.steps} steps.")

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        if self.decay:
            return self.learning_rate * (self.steps - step) / (self.steps - self.warmup)
        return self.learning_rate

    def order(self, count: int, lengths: Tensor | None = None) -> Tensor:
        """Positions of the examples of every step, (steps, batch_size): epochs, each shuffled anew.

        Args:
            count: number of examples.
            lengths: (count,), for examples that are padded to the longest of their batch. Then examples are sorted by
                length within every `WINDOW` batches, and these batches are shuffled.

        Raises:
            TrainingError: a batch is larger than the `count` examples.
        """
        if self.batch_size > count:
            raise TrainingError(
                f"Recipe: batch_size is {self.batch_size}, but there are only {count} examples; use {count} or less."
            )
        generator = torch.Generator().manual_seed(self.seed)
        needed = self.steps * self.batch_size
        epochs = [torch.randperm(count, generator=generator) for _ in range(math.ceil(needed / count))]
        order = torch.cat(epochs)[:needed]
        if lengths is not None:
            windows = order.split(WINDOW * self.batch_size)
            order = torch.cat([self._batches_by_length(window, lengths, generator) for window in windows])
        return order.view(self.steps, self.batch_size)

    def _batches_by_length(self, window: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """The examples of a window, sorted by length and split into batches, in a random order of the batches."""
        batches = window[lengths[window].argsort(stable=True)].view(-1, self.batch_size)
        return batches[torch.randperm(len(batches), generator=generator)].flatten()

    def begin(self, point: Tensor) -> Tensor:
        """The state (K, T) before the first step: the parameters `point` (T,), and zeros for the memory."""
        return torch.cat([point[None], point.new_zeros(STATE_VECTORS[self.optimiser] - 1, len(point))])

    def update(self, step: int, state: Tensor, gradient: Tensor) -> Tensor:
        """The state (K, T) after a step, counted from 0, with the objective's gradient (T,) on its batch."""
        if self.optimiser == "sgd":
            point, velocity = state
            velocity = self.momentum * velocity + gradient
            return torch.stack([point - self.rate(step) * velocity, velocity])
        point, first, second = state
        (keep, keep_squares) = self.betas
        first = keep * first + (1 - keep) * gradient
        second = keep_squares * second + (1 - keep_squares) * gradient.square()
        # Both moments begin at 0: the division corrects this bias (Kingma & Ba 2015, section 3).
        mean, square = first / (1 - keep ** (step + 1)), second / (1 - keep_squares ** (step + 1))
        return torch.stack([point - self.rate(step) * mean / (square + self.eps_root).sqrt(), first, second])


def usual_recipe(count: int, epochs: int, seed: int) -> Recipe:
    """Adam for a number of epochs over `count` examples: warm-up over 5 % of the steps, then linear decay."""
    batch = min(BATCH, count)
    steps = epochs * math.ceil(count / batch)
    return Recipe(
        steps, batch, RATE, optimiser="adam", eps_root=1e-12, warmup=min(steps, steps // 20 + 1), decay=True, seed=seed
    )
