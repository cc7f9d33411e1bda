"""Convolution of pictures in double precision on a processor, faster.

Torch multiplies example by example: thousands of small products in a pass, each a barrier for its threads. Here the
patches under the kernel are copied out once, and one matrix product does, as it does on the way back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

LARGEST = 2**27
"""Bytes that the patches of a batch may take."""


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """As `torch.nn.functional.conv2d`, to rounding. Inputs in float64 on a CPU that need no gradient are computed here.

    All other calls go to torch. The patches (n, places, C k) of such an `input` (n, C, H, W) are constants, so every
    derivative by weight and bias is a matrix product.
    """
    plain = input.dim() == 4 and groups == 1 and _pair(dilation) == (1, 1) and not isinstance(padding, str)
    if not plain or input.dtype != torch.float64 or input.device.type != "cpu" or input.requires_grad:
        return functional.conv2d(input, weight, bias, stride, padding, dilation, groups)
    (high, wide), (down, right), (above, left) = weight.shape[2:], _pair(stride), _pair(padding)
    padded = functional.pad(input, (left, left, above, above)) if above or left else input
    patches = padded.unfold(2, high, down).unfold(3, wide, right).permute(0, 2, 3, 1, 4, 5)
    if patches.numel() * patches.itemsize > LARGEST:
        return functional.conv2d(input, weight, bias, stride, padding, dilation, groups)
    found = functional.linear(patches.flatten(3), weight.flatten(1), bias)
    return found.permute(0, 3, 1, 2).contiguous()


def _pair(value: Any) -> tuple[int, int]:
    several = (value,) if isinstance(value, int) else tuple(value)
    return several * 2 if len(several) == 1 else several


class FastConvolution(TorchFunctionMode):
    """Replaces torch's `conv2d` by the function above within this context; not for the tape, whose rule is torch's."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        fast = conv2d if func in (functional.conv2d, torch.conv2d) else func
        return fast(*args, **(kwargs or {}))
