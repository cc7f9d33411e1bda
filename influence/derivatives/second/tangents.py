"""How a batch's outputs change along vectors over the trained parameters, J v: in forward mode where torch has it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp, vmap
from torch.utils.data import Subset

from influence.derivatives.objective import Objective, equal_to_rounding, ran_out_of_memory
from influence.derivatives.second.outputs import differentiable
from influence.derivatives.second.products import AT_ONCE, OutputTangents, trained_leaves
from influence.errors import LossError

FEW = 8
"""Examples on which the two modes are compared."""

Push = Callable[[Tensor], list[Tensor]]
"""Vectors (n, T) -> the tangents along them (n, ...) of each tensor of real numbers in a batch's outputs."""


class Tangents:
    """J v of a stage's batches, in forward mode if its first examples show that it gives what reverse mode does.

    Forward mode costs two forward passes a vector, reverse mode twice (`OutputTangents`) up to four. Not every
    operation has it; and it sees what a model hides from autograd, as a straight-through estimator does.

    Args:
        objective: the stage's, at whose parameters J is.

    Attributes:
        forward: whether forward mode is taken. An operation without it, in a later batch, ends it.
    """

    def __init__(self, objective: Objective):
        self._objective = objective
        self.forward = True
        self.forward = self._agree()

    def __call__(self, batch: Any, vectors: Tensor) -> Iterator[tuple[slice, list[Tensor]]]:
        """(rows of `vectors` (n, T), their tangents by leaf (rows, ...)), a few vectors at a time."""
        reverse: Push | None = None
        for start in range(0, len(vectors), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            found = self._ahead(batch, vectors[rows])
            if found is None:
                reverse = reverse or self._reverse(batch)
                found = reverse(vectors[rows])
            yield rows, found

    def _agree(self) -> bool:
        """Whether both modes give the same for some examples and a random vector."""
        objective, data = self._objective, self._objective.stage.data
        chance = torch.randn(1, objective.trained.size, generator=torch.Generator().manual_seed(0))
        vector = chance.to(objective.device, objective.dtype)
        _, batch = next(objective.batches(Subset(data, range(min(FEW, len(data))))))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of what torch loads for forward mode
            found = self._ahead(batch, vector)
        return found is not None and all(
            bool(equal_to_rounding(one, other, epsilon=objective.epsilon).all())
            for one, other in zip(self._reverse(batch)(vector), found, strict=True)
        )

    def _ahead(self, batch: Any, vectors: Tensor) -> list[Tensor] | None:
        """The tangents in forward mode; None where it is not taken."""
        try:
            return self._forwards(batch, vectors) if self.forward else None
        except (AssertionError, LossError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if ran_out_of_memory(error):
                raise
            self.forward = False
            return None

    def _forwards(self, batch: Any, vectors: Tensor) -> list[Tensor]:
        objective = self._objective
        here = {name: objective.parameters[name] for name in objective.trained.shapes}

        def leaves(parameters: dict[str, Tensor]) -> tuple[Tensor, ...]:
            return tuple(differentiable(objective, objective.outputs(batch, parameters))[0])

        def along(vector: dict[str, Tensor]) -> tuple[Tensor, ...]:
            found: tuple[Tensor, ...] = jvp(leaves, (here,), (vector,))[1]
            return found

        return list(vmap(along)(objective.trained.unflatten(vectors)))

    def _reverse(self, batch: Any) -> Push:
        objective, live = self._objective, trained_leaves(self._objective)
        with torch.enable_grad():
            leaves, _ = differentiable(objective, objective.outputs(batch, live))
            tangents = OutputTangents(leaves, list(live.values()))

        def push(vectors: Tensor) -> list[Tensor]:
            found = tangents(list(objective.trained.unflatten(vectors).values()))
            pairs = zip(found, leaves, strict=True)
            return [leaf.new_zeros(len(vectors), *leaf.shape) if t is None else t.detach() for t, leaf in pairs]

        return push
