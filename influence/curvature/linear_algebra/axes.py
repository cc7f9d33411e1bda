"""The axes of one side of a weight: eigenvectors of its Kronecker factor, in no more dimensions than its rows span.

A layer of 4,608 inputs that are seen at 300 places has a factor of rank 300. Its eigenvectors come from the 300 x 300
products of the rows with each other, and what is orthogonal to all of them is one more axis, of many dimensions: every
basis of it is one of eigenvectors.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_SIDE = 4096
"""Longest side of a weight whose whole Kronecker factor is decomposed. Where a longer one's rows span too many
dimensions, it keeps its coordinate axes."""
SPAN_SHARE = 0.75
"""Rows are taken for what they span while there are so many of them at most, as a share of the side."""
MIN_VARIANCE = 1e-11
"""Share of the largest variance, at least the rows' rounding, from which on a direction counts as spanned."""


class Axes:
    """Orthonormal axes of one side of a weight that is viewed as (g, L, R).

    Args:
        side: the side's length.
        basis: (g, side, r), the axes as columns; None for the coordinate axes.

    Attributes:
        outside: dimensions orthogonal to all columns, which are one more axis together.
        count: axes, with that one.
    """

    def __init__(self, side: int, basis: Tensor | None = None):
        self.side, self.basis = side, basis
        self.outside = 0 if basis is None else side - basis.shape[2]
        self.count = side - self.outside + bool(self.outside)

    @property
    def multiplications(self) -> int:
        """Of turning one row."""
        return 0 if self.basis is None else self.side * self.basis.shape[2] * (2 if self.outside else 1)

    @property
    def width(self) -> int:
        """Numbers of a turned row."""
        return self.side - self.outside + (self.side if self.outside else 0)

    def turned(self, rows: Tensor) -> Tensor:
        """Rows (..., g, m, side) along the axes, then, where there is an outside, their part there: (..., g, m, width).

        That part is formed and not its length taken from the others': small curvatures would drown in rounding.
        """
        if self.basis is None:
            return rows
        basis = self.basis.to(rows)
        inside = rows @ basis
        return torch.cat([inside, rows - inside @ basis.mT], dim=-1) if self.outside else inside

    def back(self, turned: Tensor) -> Tensor:
        """Rows (..., g, m, side) from turned ones (..., g, m, width)."""
        if self.basis is None:
            return turned
        basis = self.basis.to(turned)
        inside = turned[..., : basis.shape[2]] @ basis.mT
        return inside + turned[..., basis.shape[2] :] if self.outside else inside

    def gathered(self, squares: Tensor) -> Tensor:
        """Squares of turned rows, (..., width), summed over the outside: (..., count)."""
        if not self.outside:
            return squares
        inside, outside = squares.split([self.count - 1, self.side], dim=-1)
        return torch.cat([inside, outside.sum(-1, keepdim=True)], dim=-1)

    def a_dimension(self, sums: Tensor) -> Tensor:
        """Sums along the axes, (..., count), divided by the dimensions of each."""
        if not self.outside:
            return sums
        return torch.cat([sums[..., :-1], sums[..., -1:] / self.outside], dim=-1)

    def repeated(self, values: Tensor) -> Tensor:
        """A value of each axis, (..., count), for each number of a turned row: (..., width)."""
        if not self.outside:
            return values
        outside = values[..., -1:].expand(*values.shape[:-1], self.side)
        return torch.cat([values[..., :-1], outside], dim=-1)

    def shares(self, place: int) -> Tensor:
        """Share of a coordinate in each dimension of the axes, (g, count): the diagonal of its projector there."""
        assert self.basis is not None
        squares = self.basis[:, place].square()
        if not self.outside:
            return squares
        left = (1 - squares.sum(-1, keepdim=True)).clamp(min=0) / self.outside
        return torch.cat([squares, left], dim=-1)


class Moment:
    """Second moment of the rows of a side, batch by batch; the rows themselves as long as they are few.

    Args:
        side: their length.
    """

    def __init__(self, side: int):
        self.side = side
        self._count = 0
        self._rows: list[Tensor] = []
        self._product: Tensor | None = None

    def add(self, rows: Tensor) -> None:
        """Add rows (g, n, side)."""
        few = self._product is None and self._are_few(self._count)
        self._count += rows.shape[1]
        if few and self._are_few(self._count):
            self._rows.append(rows.contiguous())  # not a view of what a whole batch keeps
        elif self.side <= MAX_SIDE:
            for some in (*self._rows, rows):
                product = some.mT @ some
                self._product = product if self._product is None else self._product.add_(product)
            self._rows = []
        else:
            self._rows = []

    def _are_few(self, count: int) -> bool:
        return count <= SPAN_SHARE * self.side and count * self.side <= MAX_SIDE**2

    def axes(self) -> Axes:
        """The eigenvectors, from decompositions in double precision. What was added is let go."""
        rows, product = self._rows, self._product
        self._rows, self._product = [], None
        if product is not None:
            return Axes(self.side, torch.linalg.eigh(product.double())[1].to(product))
        return Axes(self.side, _spanning(torch.cat(rows, dim=1)) if rows else None)


def _spanning(rows: Tensor) -> Tensor | None:
    """Eigenvectors (g, side, r) of the rows' (g, n, side) second moment that belong to a variance; None if none do.

    Groups have as many as the one that needs most.
    """
    exact = rows.double()
    variances, mixes = torch.linalg.eigh(exact @ exact.mT)
    least = max(torch.finfo(rows.dtype).eps, MIN_VARIANCE) * variances[:, -1:]
    counted = int((variances > least).sum(1).max())
    if not counted or not float(variances[:, -1].min()) > 0:
        return None
    mixes, variances = mixes[..., -counted:], variances[:, None, -counted:]
    if bool((variances[:, 0] > least).all()):
        return (exact.mT @ mixes / variances.sqrt()).to(rows)
    # Of a group that needs fewer, the directions of next to no variance are made orthogonal.
    return torch.linalg.qr((exact.mT @ mixes / variances.clamp(min=least[:, None]).sqrt()).flip(2))[0].flip(2).to(rows)
