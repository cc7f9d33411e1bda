"""`Use`: what a layer rule records of one call, and how it makes per-example gradients of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from influence.derivatives.first.alignment import arranged
from influence.derivatives.first.factors import Factor

Name = Callable[[Any], str | None]
Arrange = Callable[[Tensor], Tensor]
"""Moves the dimension of the examples to the front of a tensor with the call's leading dimensions."""


def shared(tensor: Tensor, count: int) -> Tensor:
    """A view with a first dimension of length `count`: a first dimension of length 1 is expanded, else one is added."""
    return tensor.expand(count, *tensor.shape[tensor.dim() > 0 and tensor.shape[0] == 1 :])


class Use:
    """One call: the names of its parameters, and the input that the weight's gradient needs.

    Args:
        weight, bias: names of watched parameters, or None.
        input: the tensor that the gradient of the weight is a product with, or None.
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
        """Expand an input that all examples share to one row for each of `count` examples."""
        if self.input is not None:
            self.input = shared(self.input, count)

    def arrange(self, output: Tensor, layout: str, count: int) -> None:
        """Bring the input's rows, which belong to examples as the output's do, into the order of the examples."""
        if self.input is not None and self.input.shape[:1] == output.shape[:1]:
            self.input = arranged(self.input, layout, count)

    def keep_copies(self) -> None:
        """Clone the input, which the model may overwrite later in the forward pass."""
        if self.input is not None:
            self.input = self.input.clone()

    def widen(self, gradient: Tensor) -> Tensor:
        """Gradient and input in at least float32: sums over positions need more digits than half precision has."""
        if self.input is not None and self.input.is_floating_point():
            self.input = self.input.to(torch.promote_types(self.input.dtype, torch.float32))
        return gradient.to(torch.promote_types(gradient.dtype, torch.float32))

    def factors(self, gradient: Tensor, arrange: Arrange, count: int) -> list[tuple[str, Factor]]:
        """(name, per-example gradients) of every parameter, from the gradient at the call's output."""
        raise NotImplementedError
