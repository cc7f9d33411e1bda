"""Faster max pooling of pictures on a CPU.

Torch's forward kernel is vectorised only for the channels-last memory format; in the usual format it takes as long as
a small network's convolutions. Its backward kernel is fast in both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_pool = torch.ops.aten.max_pool2d_with_indices
_back = torch.ops.aten.max_pool2d_with_indices_backward


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(pictures: Tensor, *window: Any) -> tuple[Tensor, Tensor]:
        found, places = _pool(pictures.contiguous(memory_format=torch.channels_last), *window)
        return found.contiguous(), places.contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pictures, *ctx.window = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(pictures, output[1])
        ctx.save_for_forward(output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        pictures, places = ctx.saved_tensors
        return _back(gradient.contiguous(), pictures, *ctx.window, places), *(None for _ in ctx.window)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return tangent.flatten(2).gather(2, places.flatten(2)).view_as(places), None


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """As `torch.nn.functional.max_pool2d`, which is called for anything but contiguous (n, C, H, W) on a CPU."""
    if return_indices or input.device.type != "cpu" or input.dim() != 4 or not input.is_contiguous():
        given: Any = (kernel_size, stride, padding, dilation, ceil_mode, return_indices)
        return functional.max_pool2d(input, *given)
    window = (_pair(kernel_size), _pair(stride or kernel_size), _pair(padding), _pair(dilation))
    return _MaxPool.apply(input, *window, ceil_mode)[0]


def _pair(value: Any) -> list[int]:
    several = [value] if isinstance(value, int) else list(value)
    return several * 2 if len(several) == 1 else several


class FastPooling(TorchFunctionMode):
    """Within this mode, torch's `max_pool2d` is replaced by the one above. Not for `vmap` or second derivatives."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        fast = max_pool2d if func in (functional.max_pool2d, torch.max_pool2d) else func
        return fast(*args, **(kwargs or {}))
