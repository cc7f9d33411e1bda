"""Embeddings: rows of a table."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from influence.derivatives.first.factors import Factor, TableRows
from influence.derivatives.first.layers.use import Arrange, Name, Use


class Lookup(Use):
    """output[...] = weight[input[...]]; rows at `padding` get no gradient."""

    def __init__(self, weight: str | None, input: Tensor, count: int, padding: int | None):
        super().__init__(weight, None, input)
        self.count, self.padding = count, padding

    def factors(self, gradient: Tensor, arrange: Arrange, count: int) -> list[tuple[str, Factor]]:
        assert self.input is not None
        assert self.weight is not None
        values = arrange(gradient).reshape(count, -1, gradient.shape[-1])
        index = arrange(self.input).reshape(count, -1)
        if self.padding is not None:
            values = values * (index != self.padding)[..., None]
        return [(self.weight, TableRows(index, values, self.count))]


def _embedding(
    name: Name,
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Use | None:
    if max_norm is not None or scale_grad_by_freq or input.dim() == 0:
        return None
    padding = None if padding_idx is None else padding_idx % len(weight)
    return Lookup(name(weight), input, len(weight), padding)


RULES: dict[Any, Any] = {functional.embedding: _embedding}
