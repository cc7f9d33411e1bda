"""Products with a weight matrix: linear layers, LoRA, GPT-2's transposed ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from influence.derivatives.first.factors import Dense, Factor, Outer
from influence.derivatives.first.layers.use import Arrange, Name, Use


class Product(Use):
    """output[..., o] = sum_i input[..., i] weight[o, i] + bias[o]; `transposed`: weight[i, o]."""

    def __init__(self, weight: str | None, bias: str | None, input: Tensor, transposed: bool):
        super().__init__(weight, bias, input)
        self.transposed = transposed

    def factors(self, gradient: Tensor, arrange: Arrange, count: int) -> list[tuple[str, Factor]]:
        came_back = arrange(gradient).reshape(count, 1, -1, gradient.shape[-1])
        found: list[tuple[str, Factor]] = []
        if self.weight is not None:
            assert self.input is not None
            went_in = arrange(self.input).reshape(count, 1, -1, self.input.shape[-1])
            sides = (went_in, came_back) if self.transposed else (came_back, went_in)
            found.append((self.weight, Outer(*sides)))
        if self.bias is not None:
            weight = None if self.transposed else self.weight
            found.append((self.bias, Dense(came_back.sum((1, 2)), left_of=weight)))
        return found


class LeftProduct(Product):
    """output[..., o, p] = sum_i weight[o, i] input[..., i, p]: a weight on the left, positions last."""

    def factors(self, gradient: Tensor, arrange: Arrange, count: int) -> list[tuple[str, Factor]]:
        if gradient.dim() < 3:
            raise RuntimeError("no dimension of examples")
        assert self.input is not None
        turned = LeftProduct(self.weight, None, self.input.mT, transposed=False)
        return Product.factors(turned, gradient.mT, arrange, count)


def _linear(name: Name, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Use | None:
    if input.dim() < 2 or weight.dim() != 2:
        return None
    return Product(name(weight), name(bias), input, transposed=False)


def _addmm(name: Name, input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Use | None:
    if beta != 1 or alpha != 1 or input.dim() != 1 or name(mat1) is not None:
        return None
    return Product(name(mat2), name(input), mat1, transposed=True)


def _matmul(name: Name, input: Tensor, other: Tensor) -> Use | None:
    if name(input) is not None and name(other) is None and input.dim() == 2 and other.dim() > 2:
        return LeftProduct(name(input), None, other, transposed=False)
    if name(input) is not None or other.dim() != 2 or input.dim() < 2:
        return None
    return Product(name(other), None, input, transposed=True)


RULES = {
    functional.linear: _linear,
    torch.addmm: _addmm,
    torch.Tensor.addmm: _addmm,
    torch.matmul: _matmul,
    torch.Tensor.matmul: _matmul,
    torch.Tensor.__matmul__: _matmul,
    torch.mm: _matmul,
    torch.Tensor.mm: _matmul,
}
