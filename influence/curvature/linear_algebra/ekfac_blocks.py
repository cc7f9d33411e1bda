"""Approximate Gauss-Newton blocks of single parameters, accumulated batch by batch from random gradients.

There are two passes over the data. The first accumulates the Kronecker factors, whose eigenvectors are the block's axes
(eigenbasis). The second accumulates the eigenvalues: the second moments of the gradients along these axes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor

from influence.derivatives.first.factors import CHUNK_BYTES, Factor, Outer, TableRows, summed_gradients

MAX_SIDE = 4096
"""Longest side of a weight whose Kronecker factor is decomposed; a longer side keeps its coordinate axes."""


SIDES = ("left", "right")
"""The sides L and R of a weight viewed as (g, L, R)."""


class Block(ABC):
    """The block of the parameters at `places`, one after another, of the stage's vector of trained parameters."""

    form: ClassVar[str]
    curvature: Tensor | float
    """Sum over all examples: of the eigenvalues along the axes, or (full) of the matrix."""

    def __init__(self, places: list[slice]):
        self.places = places

    @abstractmethod
    def see(self, factors: list[list[Factor]]) -> None:
        """First pass: add a batch to the Kronecker factors. `factors` has a list of factors for each parameter."""

    @abstractmethod
    def turn(self) -> None:
        """Between the passes: compute the eigenvectors of the Kronecker factors."""

    @abstractmethod
    def measure(self, factors: list[list[Factor]]) -> None:
        """Second pass: add a batch to the eigenvalues."""

    def state(self) -> dict[str, Tensor]:
        """The result of both passes."""
        return {"curvature": torch.as_tensor(self.curvature)}

    @classmethod
    def of(cls, places: list[slice], state: Mapping[str, Tensor]) -> Self:
        """A block with the state of an earlier one."""
        block = cls(places)
        block.curvature = state["curvature"]
        return block

    @abstractmethod
    def solve(self, queries: Tensor, count: int, shift: Tensor) -> Tensor:
        """(block of `count` examples + shift)^-1 applied to (Q, size), `shift` (size,) constant in each parameter."""

    def norms(self, queries: Tensor, count: int, shift: Tensor) -> Tensor:
        """Quadratic form q . (block + shift)^-1 q of every row q of (Q, size): (Q,)."""
        return (self.solve(queries, count, shift) * queries).sum(1)

    def norms_of(self, factors: list[list[Factor]], count: int, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Quadratic form q . (block + shift)^-1 q, and q . q, of a batch's gradients q: (n,) each."""
        rows = torch.cat([summed_gradients(several) for several in factors], dim=1)
        return self.norms(rows, count, shift), rows.square().sum(1)


class Diagonal(Block):
    """The diagonal alone, for a parameter without Kronecker form that is too large for a full block."""

    form = "diagonal"

    def see(self, factors: list[list[Factor]]) -> None:
        """Nothing to do: the axes are the coordinate axes."""

    def turn(self) -> None:
        self.curvature = 0.0

    def measure(self, factors: list[list[Factor]]) -> None:
        self.curvature = self.curvature + summed_gradients(factors[0]).square().sum(0)

    def solve(self, queries: Tensor, count: int, shift: Tensor) -> Tensor:
        return queries / (torch.as_tensor(self.curvature).to(queries) / count + shift)


class Full(Block):
    """The full matrix of a small parameter: the second moment of its random gradients."""

    form = "full"

    def see(self, factors: list[list[Factor]]) -> None:
        """Nothing to do: the second pass accumulates the whole matrix."""

    def turn(self) -> None:
        self.curvature = 0.0

    def measure(self, factors: list[list[Factor]]) -> None:
        rows = summed_gradients(factors[0]).double()
        self.curvature = self.curvature + rows.T @ rows

    def solve(self, queries: Tensor, count: int, shift: Tensor) -> Tensor:
        # A full block has a single parameter, so the shift is one number.
        matrix = torch.as_tensor(self.curvature).to(queries.device) / count
        matrix = matrix + shift[0].double() * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        return torch.linalg.solve(matrix, queries.double().T).T.to(queries)


class Kronecker(Block):
    """Eigenvalue-corrected Kronecker factors (George et al. 2018) of a weight viewed as (g, L, R), bias included.

    The bias is one more column, with the layer input 1. For an embedding, the coordinate axes of the table's rows serve
    as eigenvectors, also if it is tied to output weights. For a weight that is used several times, the eigenvectors
    neglect the correlation between the uses; the eigenvalues do not.
    """

    form = "kronecker"

    def __init__(self, places: list[slice], groups: int, sides: tuple[int, int]):
        super().__init__(places)
        self.groups, self.sides, self.bias = groups, sides, len(places) > 1
        self.covariances: list[Tensor | None] = [None, None]

    def see(self, factors: list[list[Factor]]) -> None:
        rows_are_axes = any(isinstance(factor, TableRows) for factor in factors[0])
        for factor in factors[0]:
            if isinstance(factor, Outer):
                for side, rows in enumerate(self._rows(factor)):
                    if side or not rows_are_axes:
                        self._add(side, rows.transpose(0, 1).flatten(1, 2))  # (g, n P, side)
            elif isinstance(factor, TableRows):
                self._add(1, factor.values.flatten(0, 1)[None])

    def _add(self, side: int, rows: Tensor) -> None:
        if self.sides[side] <= MAX_SIDE:
            product, before = rows.mT @ rows, self.covariances[side]
            self.covariances[side] = product if before is None else before + product

    def turn(self) -> None:
        """Compute the axes of each side; None stands for the coordinate axes."""
        self.axes = [None if c is None else torch.linalg.eigh(c.double())[1].to(c) for c in self.covariances]
        self.curvature = 0.0

    def measure(self, factors: list[list[Factor]]) -> None:
        first = factors[0][0]
        if len(factors[0]) == 1 and isinstance(first, Outer) and first.positions == 1:
            # The squares of an outer product are the outer product of the squares.
            sides = zip(self._rows(first), self.axes, strict=True)
            a, b = (_turned(rows, axes)[:, :, 0].square() for rows, axes in sides)
            self.curvature = self.curvature + torch.einsum("ngl,ngr->glr", a, b)
            return
        for turned in self._gradients_along(factors):
            self.curvature = self.curvature + turned.square().sum(0)

    def _gradients_along(self, factors: list[list[Factor]]) -> Iterator[Tensor]:
        """One batch's gradients in the eigenbasis, (n, g, L, R), some examples at a time."""
        count, itemsize = factors[0][0].shape[0], torch.float32.itemsize
        step = max(1, CHUNK_BYTES // (itemsize * self.groups * self.sides[0] * self.sides[1]))
        for start in range(0, count, step):
            some = [[factor[start : start + step] for factor in several] for several in factors]
            if all(map(self._sooner_turned, some[0])):
                # Rotate the two sides before they are multiplied.
                turned = summed_gradients([self._turned_factor(factor) for factor in some[0]])
                yield turned.view(len(turned), self.groups, *self.sides)
            else:
                formed = self._joined([summed_gradients(several) for several in some])
                yield _turned(_turned(formed, self.axes[1]).mT, self.axes[0]).mT

    def _sooner_turned(self, factor: Factor) -> bool:
        """Whether rotating a factor's two sides takes fewer multiplications than rotating the gradient."""
        if isinstance(factor, TableRows):
            return self.axes[0] is None and not self.bias
        turned = [side for side, axes in zip(self.sides, self.axes, strict=True) if axes is not None]
        whole = math.prod(self.sides) * sum(turned)
        return isinstance(factor, Outer) and factor.positions * sum(side**2 for side in turned) < whole

    def _turned_factor(self, factor: Factor) -> Factor:
        if isinstance(factor, TableRows):
            axes = None if self.axes[1] is None else self.axes[1][0]
            return TableRows(factor.index, _turned(factor.values, axes), factor.count)
        assert isinstance(factor, Outer)
        return Outer(*(_turned(rows, axes) for rows, axes in zip(self._rows(factor), self.axes, strict=True)))

    def state(self) -> dict[str, Tensor]:
        axes = {side: each for side, each in zip(SIDES, self.axes, strict=True) if each is not None}
        return {**super().state(), **axes}

    @classmethod
    def of(cls, places: list[slice], state: Mapping[str, Tensor]) -> Self:
        curvature = state["curvature"]
        block = cls(places, len(curvature), (curvature.shape[1], curvature.shape[2]))
        block.curvature, block.axes = curvature, [state.get(side) for side in SIDES]
        return block

    def norms(self, queries: Tensor, count: int, shift: Tensor) -> Tensor:
        turned, curvature = self._along(queries, count, shift)
        return turned.square().flatten(1) @ (1 / curvature).flatten()

    def norms_of(self, factors: list[list[Factor]], count: int, shift: Tensor) -> tuple[Tensor, Tensor]:
        weights, found = (1 / self._shifted(count, shift)).flatten(), []
        for turned in self._gradients_along(factors):
            squares = turned.square().flatten(1)
            found.append(torch.stack([squares @ weights.to(squares), squares.sum(1)]))  # axes are orthogonal
        norms, lengths = torch.cat(found, dim=1)
        return norms, lengths

    def solve(self, queries: Tensor, count: int, shift: Tensor) -> Tensor:
        rows, curvature = self._along(queries, count, shift)
        rows = rows / curvature
        back = [None if axes is None else axes.mT for axes in self.axes]
        rows = _turned(_turned(rows, back[1]).mT, back[0]).mT
        if self.bias:
            return torch.cat([rows[..., :-1].flatten(1), rows[..., -1].flatten(1)], dim=1)
        return rows.flatten(1)

    def _along(self, queries: Tensor, count: int, shift: Tensor) -> tuple[Tensor, Tensor]:
        """The queries in the eigenbasis, (Q, g, L, R), and the eigenvalues plus shift."""
        curvature = self._shifted(count, shift).to(queries)
        rows = self._joined(list(queries.split([s.stop - s.start for s in self.places], dim=1)))
        return _turned(_turned(rows, self.axes[1]).mT, self.axes[0]).mT, curvature

    def _shifted(self, count: int, shift: Tensor) -> Tensor:
        """The eigenvalues plus the diagonal of `shift` along the axes, (g, L, R)."""
        curvature, axes = torch.as_tensor(self.curvature) / count + shift[0], self.axes[1]
        if not self.bias:
            return curvature
        bias = shift[-1] - shift[0]  # l2 often is of weights only; the bias is the last column
        if axes is None:
            return torch.cat([curvature[..., :-1], curvature[..., -1:] + bias], dim=-1)
        return curvature + (axes[:, -1].square() * bias)[:, None]

    def _joined(self, parts: list[Tensor]) -> Tensor:
        """Weight (n, g L R) and bias (n, g L) as one (n, g, L, R + 1)."""
        split = [part.reshape(len(part), self.groups, self.sides[0], -1) for part in parts]
        return torch.cat(split, dim=-1) if self.bias else split[0]

    def _rows(self, factor: Outer) -> tuple[Tensor, Tensor]:
        """(n, g, P, L), (n, g, P, R), the bias's input 1 appended."""
        right = factor.right
        return factor.left, torch.cat([right, torch.ones_like(right[..., :1])], dim=-1) if self.bias else right


FORMS: dict[str, type[Block]] = {block.form: block for block in (Diagonal, Full, Kronecker)}


def _turned(rows: Tensor, axes: Tensor | None) -> Tensor:
    """(..., g, m, side), rotated into `axes` (g, side, side), in the rows' precision."""
    return rows if axes is None else rows @ axes.to(rows)
