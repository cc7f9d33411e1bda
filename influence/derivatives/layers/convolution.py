"""Convolutions and transposed convolutions of one to three dimensions: strided, dilated, grouped, padded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from influence.derivatives.factors import Dense, Factor, Outer
from influence.derivatives.layers.use import Arrange, Name, Use

Size = int | Sequence[int]


class Convolution(Use):
    """A kernel that meets every place of its `input`; `transposed`: of its output."""

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
            patches = self._patches(swept)  # (N, C k, positions)
            still = still.flatten(2)
            if patches.shape[2] != still.shape[2]:  # an output padding that reaches over the stride
                patches = self._first_positions(patches, swept, self.input.shape[2:])
            found.append((self.weight, Outer(self._grouped(still, count), self._grouped(patches, count))))
        if self.bias is not None:
            found.append((self.bias, Dense(gradient.flatten(2).sum(2).reshape(count, -1, gradient.shape[1]).sum(1))))
        return found

    def _grouped(self, rows: Tensor, count: int) -> Tensor:
        """(N, g c, positions) -> (n, g, positions, c)."""
        split = rows.unflatten(1, (self.groups, -1))
        if len(rows) == count:
            return split.transpose(2, 3)
        several = split.unflatten(0, (count, -1))  # examples of several pictures each: (n, k, g, c, positions)
        return several.permute(0, 2, 1, 4, 3).flatten(2, 3)

    def _patches(self, swept: Tensor) -> Tensor:
        """What lies under the kernel at every position: (N, C k, positions)."""
        if all(k == 1 for k in self.kernel) and all(s == 1 for s in self.stride) and not any(map(any, self.padding)):
            return swept.flatten(2)
        if len(self.kernel) <= 2 and all(a == b for a, b in self.padding):
            one = len(self.kernel) == 1
            lift = (lambda v, fill: (fill, *v)) if one else (lambda v, fill: tuple(v))
            return functional.unfold(
                swept[:, :, None] if one else swept,
                lift(self.kernel, 1),
                lift(self.dilation, 1),
                lift([a for a, _ in self.padding], 0),
                lift(self.stride, 1),
            )
        padded = functional.pad(swept, [n for pair in reversed(self.padding) for n in pair]).contiguous()
        places = self._places(padded.shape[2:])
        strides = padded.stride()
        shape = (*padded.shape[:2], *self.kernel, *places)
        step = (
            *strides[:2],
            *(s * d for s, d in zip(strides[2:], self.dilation, strict=True)),
            *(s * d for s, d in zip(strides[2:], self.stride, strict=True)),
        )
        return padded.as_strided(shape, step).flatten(2 + len(places)).flatten(1, 1 + len(places))

    def _places(self, extent: Sequence[int]) -> list[int]:
        return [
            (e - d * (k - 1) - 1) // s + 1
            for e, k, s, d in zip(extent, self.kernel, self.stride, self.dilation, strict=True)
        ]

    def _first_positions(self, patches: Tensor, swept: Tensor, wanted: torch.Size) -> Tensor:
        extent = [e + a + b for e, (a, b) in zip(swept.shape[2:], self.padding, strict=True)]
        grid = patches.unflatten(2, self._places(extent))
        for dim, size in enumerate(wanted):
            grid = grid.narrow(2 + dim, 0, size)
        return grid.flatten(2)


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
        if padding == "same":  # torch puts the odd one at the end
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
