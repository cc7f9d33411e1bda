"""Sampled gradients whose second moment is the Gauss-Newton matrix (the Fisher matrix of a cross-entropy)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from influence.derivatives.first.factors import Factors
from influence.derivatives.first.watch import Watch
from influence.derivatives.objective import Objective, plain_kernels
from influence.derivatives.second.outputs import differentiable, random_directions


class Fisher:
    """For every example, random gradients J's, with E[s s'] = d2 loss / d outputs2 and J the outputs' Jacobian.

    Then E[J's s'J] = J' (d2 loss / d outputs2) J, the example's Gauss-Newton matrix.

    Args:
        objective: the stage's.
        seed: of the random s.
    """

    def __init__(self, objective: Objective, seed: int = 0):
        self.objective = objective
        self.generator = torch.Generator().manual_seed(seed)
        self.watch = Watch(objective, objective.trained)

    def factors(self, data: Any = None) -> Iterator[tuple[int, Factors]]:
        """(number of examples, factors of the trained parameters' random gradients) batch by batch."""
        for positions, batch in self.objective.batches(self.objective.stage.data if data is None else data):
            count = positions.stop - positions.start
            with plain_kernels():
                outputs, tape = self.watch.recorded(batch, count)
                sides = random_directions(self.objective, outputs, batch, count, self.generator)
                found: Factors = tape.backward(differentiable(self.objective, outputs)[0], sides)
            if self.watch.foreign or tape.foreign or tape.unsure:
                found = self._apart.factors((batch, sides), count)
            yield count, found

    @cached_property
    def _apart(self) -> Watch:
        """For models that the tape does not cover: a `Watch` of the loss outputs . s, with s as a part of the batch."""
        stage = self.objective.stage
        forward = stage.forward
        assert forward is not None
        sided = dataclasses.replace(
            stage,
            forward=lambda model, batch: forward(model, batch[0]),
            loss=lambda outputs, batch: along(differentiable(self.objective, outputs)[0], batch[1]),
        )
        return Watch(self.objective.with_stage(sided), self.objective.trained)


def along(outputs: list[Tensor], sides: list[Tensor]) -> Tensor:
    """Dot product of each example's outputs with its sides: (n,)."""
    parts = [
        (output * side).flatten(1).sum(1) if output.dim() > 1 else output * side
        for output, side in zip(outputs, sides, strict=True)
    ]
    return torch.stack(parts).sum(0)
