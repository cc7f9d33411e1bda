"""Parameters that scale or shift what goes by: norms, biases and position embeddings of their own, LayerScale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from influence.derivatives.first.factors import Dense, Factor
from influence.derivatives.first.layers.use import Arrange, Name, Use


class Scale(Use):
    """output = input * weight + bias, the parameters of `shape` broadcast with the output's last dimensions.

    `channels`: they lie along the second dimension instead, as those of batch and group norms do.
    """

    def __init__(
        self, weight: str | None, bias: str | None, input: Tensor | None, shape: Sequence[int], channels: bool = False
    ):
        super().__init__(weight, bias, input)
        self.shape, self.channels = tuple(shape), channels

    def factors(self, gradient: Tensor, arrange: Arrange, count: int) -> list[tuple[str, Factor]]:
        found: list[tuple[str, Factor]] = []
        if self.weight is not None:
            assert self.input is not None
            found.append((self.weight, Dense(self._summed(gradient * self.input, arrange, count))))
        if self.bias is not None:
            found.append((self.bias, Dense(self._summed(gradient, arrange, count))))
        return found

    def _summed(self, product: Tensor, arrange: Arrange, count: int) -> Tensor:
        """Over all dimensions of an example that the parameter was broadcast along: (n, size)."""
        if self.channels:
            product = product.flatten(2).sum(2) if product.dim() > 2 else product
            return product.reshape(count, -1, product.shape[1]).sum(1)
        rows = arrange(product)
        shape: tuple[int, ...] = (1,) * (rows.dim() - len(self.shape)) + self.shape
        shape = tuple(arrange(torch.empty(shape, device="meta")).shape)
        lead = next((i for i, size in enumerate(shape) if size != 1), len(shape))
        if lead == 0:  # the parameter has a row for every example of the batch
            shape, rows = (1, *shape), rows[:, None]
        along = [i for i in range(1, rows.dim()) if shape[i] == 1 and rows.shape[i] != 1]
        rows = rows.sum(along, keepdim=True) if along else rows
        return rows.reshape(count, -1, max(1, _size(self.shape))).sum(1)


def _size(shape: Sequence[int]) -> int:
    size = 1
    for extent in shape:
        size *= extent
    return size


def _times(name: Name, input: Any, other: Any, *, out: Any = None) -> Use | None:
    if out is not None:
        return None
    if name(input) is not None:
        input, other = other, input
    if not isinstance(other, Tensor):
        return None
    ready = input if isinstance(input, Tensor) else torch.as_tensor(input)
    return None if name(input) is not None else Scale(name(other), None, ready, other.shape)


def _plus(name: Name, input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Use | None:
    if out is not None or alpha != 1:
        return None
    if name(input) is not None:
        input, other = other, input
    if name(input) is not None or not isinstance(other, Tensor):
        return None
    return Scale(None, name(other), None, other.shape)


def _expanded(name: Name, input: Tensor, *sizes: Any) -> Use:
    return Scale(None, name(input), None, input.shape)


def _layer_norm(
    name: Name, input: Tensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Use:
    return Scale(name(weight), name(bias), functional.layer_norm(input, normalized_shape, eps=eps), normalized_shape)


def _rms_norm(name: Name, input: Tensor, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Use:
    return Scale(name(weight), None, functional.rms_norm(input, normalized_shape, eps=eps), normalized_shape)


def _group_norm(
    name: Name, input: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Use:
    normal = functional.group_norm(input, num_groups, eps=eps)
    return Scale(name(weight), name(bias), normal, input.shape[1:2], channels=True)


def _batch_norm(
    name: Name,
    input: Tensor,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Use | None:
    if training:  # a batch's statistics are not any one example's
        return None
    normal = functional.batch_norm(input, running_mean, running_var, eps=eps)
    return Scale(name(weight), name(bias), normal, input.shape[1:2], channels=True)


def _instance_norm(
    name: Name,
    input: Tensor,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Use:
    normal = functional.instance_norm(input, running_mean, running_var, None, None, use_input_stats, momentum, eps)
    return Scale(name(weight), name(bias), normal, input.shape[1:2], channels=True)


RULES: dict[Callable[..., Any], Callable[..., Use | None]] = {
    **dict.fromkeys((torch.mul, torch.Tensor.mul, torch.Tensor.__mul__, torch.Tensor.__rmul__), _times),
    **dict.fromkeys((torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__), _plus),
    **dict.fromkeys((torch.Tensor.add_, torch.Tensor.__iadd__), _plus),
    torch.Tensor.expand: _expanded,
    functional.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    functional.rms_norm: _rms_norm,
    functional.group_norm: _group_norm,
    functional.batch_norm: _batch_norm,
    functional.instance_norm: _instance_norm,
}
