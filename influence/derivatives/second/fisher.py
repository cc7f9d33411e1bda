"""Sampled gradients whose second moment is the Gauss-Newton matrix (the Fisher matrix of a cross-entropy)."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from influence.derivatives.first.factors import Factors
from influence.derivatives.first.watch import Watch
from influence.derivatives.objective import Objective, plain_kernels
from influence.derivatives.second.outputs import OutputLoss, differentiable
from influence.derivatives.second.samples import random_sides

NEGATIVE = 0.05
"""Share of a Hessian's trace from which on its negative part is too much to be left out without a warning."""
ERROR = 0.05
"""Relative error of the random vectors from which on there is a warning."""


class Fisher:
    """For every example, random gradients J's, with E[s s'] = d2 loss / d outputs2 and J the outputs' Jacobian.

    Then E[J's s'J] = J' (d2 loss / d outputs2) J, the example's Gauss-Newton matrix. Of a loss that is not convex in
    the outputs, the positive part of the Hessian is taken; `tell` says how much is missing.

    Args:
        objective: the stage's.
        seed: of the random s.
    """

    def __init__(self, objective: Objective, seed: int = 0):
        self.objective, self.seed = objective, seed
        self.generator = torch.Generator().manual_seed(seed)
        self.watch = Watch(objective, objective.trained)
        self.positive = self.negative = self.error = 0.0
        self._seen = False

    def of_span(self, draw: int, start: int) -> Fisher:
        """For one pass over a span of the data: its random numbers are those of the span, whatever was drawn before.

        Args:
            draw: number of the pass.
            start: the span's first example.
        """
        other = copy.copy(self)
        other.__dict__.pop("_apart", None)
        seed = hashlib.sha256(f"{self.seed} {draw} {start}".encode()).digest()
        other.generator = torch.Generator().manual_seed(int.from_bytes(seed[:7]))
        other.watch = self.watch.from_batch(start // self.objective.batch_size + self.watch.batches)
        other.positive = other.negative = other.error = 0.0
        return other

    def factors(self, data: Any = None, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Factors]]:
        """(number of examples, factors of the trained parameters' random gradients) batch by batch.

        Args:
            data: the examples; default all of the stage.
            start: the first that is asked for.
            stop: the first after them; default all.
        """
        data = self.objective.stage.data if data is None else data
        for positions, batch in self.objective.batches(data, start, stop):
            count = positions.stop - positions.start
            with plain_kernels():
                outputs, tape = self.watch.recorded(batch, count)
                curve = OutputLoss(self.objective, outputs, batch)
                sample = random_sides(curve, count, self.generator)
                found: Factors = tape.backward(curve.leaves, sample.sides)
            self.positive, self.negative = self.positive + sample.positive, self.negative + sample.negative
            self.error = max(self.error, sample.error)
            apart = bool(self.watch.foreign or tape.foreign or tape.unsure)
            owned = self._owned(curve, count, apart)
            if apart:
                sides = curve.placed(sample.sides)
                owners = None if owned is None else curve.placed(owned)
                found = self._apart.factors((batch, sides, owners, count), count)
            yield count, found

    def _owned(self, curve: OutputLoss, count: int, apart: bool) -> list[Tensor] | None:
        """The example that each number of the outputs belongs to; None where the first dimension tells.

        Whoever does not need it (not `apart`) asks in the first batch only, for the sake of the error, and wherever
        the first dimension of a tensor does not count the examples.

        Raises:
            LossError: several examples' losses are curved in the same number.
        """
        rows = all(point.dim() > 0 and len(point) == count for point in curve.points)
        if (rows and self._seen and not apart) or curve.examples_first(count):
            self._seen = True
            return None
        return curve.owners(count)

    def tell(self) -> None:
        """Say in the objective's remarks what the random gradients lack, after one pass or more."""
        stage, remarks = self.objective.stage.name, self.objective.remarks
        share = self.negative / max(self.positive + self.negative, 1e-300)
        if share > 1e-4:
            said = (
                f"{stage}: the loss is not convex in what the model returns; of its curvature there, the negative part "
                f"is left out ({share:.2g} of all)"
            )
            if share > NEGATIVE:
                remarks.warn(f"{said}. Compare with method='cg', which takes both parts")
            else:
                remarks.notes.add(said)
        if self.error > ERROR:
            remarks.warn(
                f"{stage}: the curvature in what the model returns is drawn with a relative error of about "
                f"{self.error:.1g}, since it has no simple form. Compare with method='cg', which has none"
            )

    @cached_property
    def _apart(self) -> Watch:
        """For models that the tape does not cover: a `Watch` of the loss outputs . s, with s as a part of the batch."""
        stage = self.objective.stage
        forward = stage.forward
        assert forward is not None
        sided = dataclasses.replace(
            stage,
            forward=lambda model, batch: forward(model, batch[0]),
            loss=lambda outputs, batch: along(differentiable(self.objective, outputs)[0], *batch[1:]),
        )
        return Watch(self.objective.with_stage(sided), self.objective.trained)


def along(outputs: list[Tensor], sides: list[Tensor | None], owners: list[Tensor | None] | None, count: int) -> Tensor:
    """Dot product of each example's outputs with its sides: (n,).

    Args:
        outputs: the output tensors.
        sides: of the outputs' shapes; None where an output has none.
        owners: the example that each number of the outputs belongs to; None if the first dimension tells.
        count: examples that the owners are numbered by.
    """
    parts = []
    for place, (output, side) in enumerate(zip(outputs, sides, strict=True)):
        if side is None:
            continue
        product = output * side
        if owners is None:
            parts.append(product.reshape(len(product), -1).sum(1))
        else:
            owner = owners[place]
            assert owner is not None
            parts.append(product.new_zeros(count).index_add(0, owner.flatten(), product.flatten()))
    return torch.stack(parts).sum(0)
