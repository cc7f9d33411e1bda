"""Parameters that scale or shift activations elementwise: norms, separate biases, position embeddings, LayerScale."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from influence.derivatives.first.factors import Dense, Factor
from influence.derivatives.first.layers.use import Arrange, Name, Use


class Scale(Use):
    """output = input * weight + bias, with parameters of `shape` broadcast against the output's last dimensions.

    With `channels` the parameters lie along the second dimension instead, as in batch and group norms.
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
            found.append((self.weight, Dense(self._sum_to_parameter(gradient * self.input, arrange, count))))
        if self.bias is not None:
            found.append((self.bias, Dense(self._sum_to_parameter(gradient, arrange, count))))
        return found

    def _sum_to_parameter(self, product: Tensor, arrange: Arrange, count: int) -> Tensor:
        """Sum over every dimension along which the parameter was broadcast within an example: (n, size).

        Args:
            product: elementwise gradient, of the output's shape.
            arrange: moves the dimension of the examples to the front.
            count: n.
        """
        if self.channels:
            product = product.flatten(2).sum(2) if product.dim() > 2 else product
            return product.reshape(count, -1, product.shape[1]).sum(1)
        gradients = arrange(product)
        # The parameter's shape, with leading ones and its dimensions arranged as those of `gradients`.
        padded: tuple[int, ...] = (1,) * (gradients.dim() - len(self.shape)) + self.shape
        shape = tuple(arrange(torch.empty(padded, device="meta")).shape)
        if shape and shape[0] != 1:  # the parameter has an entry for every example of the batch
            shape, gradients = (1, *shape), gradients[:, None]
        broadcast = [i for i in range(1, gradients.dim()) if shape[i] == 1 and gradients.shape[i] != 1]
        gradients = gradients.sum(broadcast, keepdim=True) if broadcast else gradients
        return gradients.reshape(count, -1, max(1, math.prod(self.shape))).sum(1)


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


def _repeated(name: Name, input: Tensor, *sizes: Any) -> Use | None:
    """Copies along dimensions of length 1, and new ones: as `expand`."""
    times = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    padded = (1,) * (len(times) - input.dim()) + tuple(input.shape)
    if any(t != 1 and size != 1 for t, size in zip(times, padded, strict=True)):
        return None
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
    torch.Tensor.repeat: _repeated,
    functional.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    functional.rms_norm: _rms_norm,
    functional.group_norm: _group_norm,
    functional.batch_norm: _batch_norm,
    functional.instance_norm: _instance_norm,
}
