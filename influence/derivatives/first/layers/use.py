"""What a rule keeps of one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from influence.derivatives.first.factors import Factor

Name = Callable[[Any], str | None]
Arrange = Callable[[Tensor], Tensor]
"""Brings the dimension of the examples to the front of a tensor that has the call's leading dimensions."""


def shared(tensor: Tensor, count: int) -> Tensor:
    """A view with a first dimension of `count`, in place of one of length 1 or before all others."""
    return tensor.expand(count, *tensor.shape[tensor.dim() > 0 and tensor.shape[0] == 1 :])


class Use:
    """A call's parameters and kept inputs.

    Args:
        weight, bias: names of watched parameters, or None.
        input: what the gradient of the weight needs.
    """

    def __init__(self, weight: str | None, bias: str | None, input: Tensor | None):
        self.weight, self.bias = weight, bias
        self.input = None if input is None else input.detach()

    @property
    def names(self) -> list[str]:
        return [name for name in (self.weight, self.bias) if name is not None]

    def kept_tensors(self) -> list[Tensor]:
        return [] if self.input is None or self.weight is None else [self.input]

    def share(self, count: int) -> None:
        """Give each of `count` examples what was put in for all of them."""
        if self.input is not None:
            self.input = shared(self.input, count)

    def keep_copies(self) -> None:
        """Keep what was put in, whatever becomes of it later."""
        if self.input is not None:
            self.input = self.input.clone()

    def widen(self, gradient: Tensor) -> Tensor:
        """Gradient and input in at least float32: they are summed over, for which half precision has too few digits."""
        if self.input is not None and self.input.is_floating_point():
            self.input = self.input.to(torch.promote_types(self.input.dtype, torch.float32))
        return gradient.to(torch.promote_types(gradient.dtype, torch.float32))

    def factors(self, gradient: Tensor, arrange: Arrange, count: int) -> list[tuple[str, Factor]]:
        """(name, per-example gradients) of every parameter, from the gradient at the call's output."""
        raise NotImplementedError
