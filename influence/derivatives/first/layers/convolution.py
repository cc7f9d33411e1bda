"""Convolutions and transposed convolutions of one to three dimensions: strided, dilated, grouped, padded."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from influence.derivatives.first.factors import Dense, Factor, PatchOuter
from influence.derivatives.first.layers.use import Arrange, Name, Use

Size = int | Sequence[int]


class Convolution(Use):
    """A convolution: its kernel slides over the input or, where it is `transposed`, over the output."""

    def __init__(
        self,
        weight: str | None,
        bias: str | None,
        input: Tensor,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[tuple[int, int]],
        dilation: Sequence[int],
        groups: int,
        transposed: bool,
    ):
        super().__init__(weight, bias, input)
        self.kernel, self.stride, self.padding, self.dilation = kernel, stride, padding, dilation
        self.groups, self.transposed = groups, transposed

    def factors(self, gradient: Tensor, arrange: Arrange, count: int) -> list[tuple[str, Factor]]:
        found: list[tuple[str, Factor]] = []
        if self.weight is not None:
            assert self.input is not None
            swept, still = (gradient, self.input) if self.transposed else (self.input, gradient)
            places = still.shape[2:]
            left = self._grouped(still.flatten(2), count)
            width = swept.shape[1] // self.groups * math.prod(self.kernel)
            pictures = swept.unflatten(0, (count, -1))
            found.append((self.weight, PatchOuter(left, pictures, width, lambda some: self._right(some, places))))
        if self.bias is not None:
            summed = gradient.flatten(2).sum(2).reshape(count, -1, gradient.shape[1]).sum(1)
            found.append((self.bias, Dense(summed, left_of=None if self.transposed else self.weight)))
        return found

    def _grouped(self, rows: Tensor, count: int) -> Tensor:
        """(N, g c, positions) -> (n, g, positions, c)."""
        split = rows.unflatten(1, (self.groups, -1))
        if len(rows) == count:
            return split.transpose(2, 3)
        several = split.unflatten(0, (count, -1))  # examples of several pictures each: (n, k, g, c, positions)
        return several.permute(0, 2, 1, 4, 3).flatten(2, 3)

    def _right(self, pictures: Tensor, places: Sequence[int]) -> Tensor:
        """Patches under the kernel at every position (im2col): (n, k, C, ...) -> (n, g, positions, C * kernel size)."""
        margins = [n for pair in reversed(self.padding) for n in pair]
        padded = pictures.flatten(0, 1)
        padded = functional.pad(padded, margins) if any(margins) else padded.contiguous()
        strides = padded.stride()
        shape = (*padded.shape[:2], *self.kernel, *places)
        step = (
            *strides[:2],
            *(s * d for s, d in zip(strides[2:], self.dilation, strict=True)),
            *(s * d for s, d in zip(strides[2:], self.stride, strict=True)),
        )
        view = padded.as_strided(shape, step, padded.storage_offset())
        return self._grouped(view.flatten(2 + len(places)).flatten(1, 1 + len(places)), len(pictures))


def _convolution(dimensions: int):  # type: ignore[no-untyped-def]
    def rule(
        name: Name,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
    ) -> Use | None:
        if input.dim() != dimensions + 2:
            return None
        kernel, dilations = weight.shape[2:], _several(dilation, dimensions)
        if padding == "same":  # torch puts the odd pixel at the end
            reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
            pads = [(r // 2, r - r // 2) for r in reach]
        else:
            pads = [(p, p) for p in _several(0 if isinstance(padding, str) else padding, dimensions)]
        return Convolution(
            name(weight), name(bias), input, kernel, _several(stride, dimensions), pads, dilations, groups, False
        )

    return rule


def _transposed(dimensions: int):  # type: ignore[no-untyped-def]
    def rule(
        name: Name,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        dilation: Size = 1,
    ) -> Use | None:
        if input.dim() != dimensions + 2:
            return None
        pads = [(p, p) for p in _several(padding, dimensions)]
        return Convolution(
            name(weight),
            name(bias),
            input,
            weight.shape[2:],
            _several(stride, dimensions),
            pads,
            _several(dilation, dimensions),
            groups,
            True,
        )

    return rule


def _several(value: Size, dimensions: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * dimensions if len(values) == 1 else values


RULES = {
    functional.conv1d: _convolution(1),
    functional.conv2d: _convolution(2),
    functional.conv3d: _convolution(3),
    functional.conv_transpose1d: _transposed(1),
    functional.conv_transpose2d: _transposed(2),
    functional.conv_transpose3d: _transposed(3),
}
