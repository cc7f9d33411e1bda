"""A recorded call of a torch function that uses parameters, and what its gradients say of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from influence.derivatives.first.alignment import arranged, examples_in
from influence.derivatives.first.factors import Factor
from influence.derivatives.first.layers import Use
from influence.derivatives.objective import ran_out_of_memory

Key = tuple[str | int, ...]
"""Identity of a call within a pass: its parameters' names, and the number of earlier calls with the same names."""


@dataclass
class Call:
    """One recorded call that uses watched parameters.

    Attributes:
        edge: the node of the autograd graph at which the output's gradient is taken.
        shape, dtype: of the output.
        layout: one of `alignment.LAYOUTS`.
        versions: kept tensors with their version counters, to notice changes in place.
        derivable: whether the output is made of parameters and fixed tensors alone: it may be a `Derived` instead.
    """

    key: Key
    use: Use
    edge: GradientEdge
    shape: torch.Size
    dtype: torch.dtype
    layout: str
    versions: list[tuple[Tensor, int]]
    derivable: bool = False

    def factors(self, gradient: Tensor, count: int) -> list[tuple[str, Factor]] | None:
        """(parameter, factor of its per-example gradients); None if the output's shape does not divide into examples.

        Raises:
            ChangedInPlaceError: a kept input was overwritten after the call.
        """
        if any(tensor._version != version for tensor, version in self.versions):
            raise ChangedInPlaceError
        gradient = self.use.widen(gradient)
        if not gradient.numel():  # an expert that no row went to
            return []
        if not self.divides(gradient, count):
            return None
        try:
            if self.layout.startswith("second"):
                return self.use.factors(gradient, lambda t: arranged(t, self.layout, count), count)
            return self.use.factors(arranged(gradient, self.layout, count), lambda t: t, count)
        except RuntimeError as error:  # the parameter's own shape does not fit the layout
            if ran_out_of_memory(error):
                raise
            return None

    def divides(self, gradient: Tensor, count: int) -> bool:
        """Whether a tensor of the output's shape divides into examples."""
        places = examples_in(gradient.shape, self.layout)
        return places > 0 and places % count == 0

    def deviation(self, gradient: Tensor, weighted: Tensor, weights: Tensor) -> Tensor:
        """Norm of what rows of other examples have in the gradient of a sum of the losses with weights (n,)."""
        if not gradient.numel() or not self.divides(gradient, len(weights)):
            return weights.new_zeros(())
        gradient, weighted = (arranged(t, self.layout, len(weights)) for t in (gradient, weighted))
        rows = weights.repeat_interleave(len(gradient) // len(weights)).to(gradient)
        return (weighted - gradient * rows.view(-1, *[1] * (gradient.dim() - 1))).float().norm()

    def pattern(self, count: int) -> tuple[Any, ...]:
        """Key of the call's kind: if a checked batch had only calls of the same patterns, this batch needs no check."""
        places = examples_in(self.shape, self.layout)
        return (*self.use.names, self.layout, len(self.shape), places == count, places % count == 0)


class ChangedInPlaceError(Exception):
    """A layer's input was overwritten later in the forward pass."""


def tolerance(gradient: Tensor, epsilon: float, whole: Tensor) -> Tensor:
    """Norm by which two computations of one gradient may differ, of layers that round to `epsilon`.

    Args:
        gradient: of any shape.
        epsilon: machine epsilon. Models in double precision may round to single in places, as Llama's norms do.
        whole: norm of all gradients of the pass.
    """
    return 30 * max(epsilon, 1e-7) ** 0.75 * gradient.float().norm() + 30 * epsilon * whole
