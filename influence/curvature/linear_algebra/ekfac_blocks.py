"""Approximate Gauss-Newton blocks of single parameters, accumulated batch by batch from random gradients.

There are two passes over the data. The first accumulates the Kronecker factors, whose eigenvectors are the block's axes
(eigenbasis). The second accumulates the eigenvalues: the second moments of the gradients along these axes.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor

from influence.curvature.linear_algebra.axes import Axes, Moment
from influence.derivatives import Objective
from influence.derivatives.first.factors import CHUNK_BYTES, Factor, Outer, TableRows, summed_gradients

SIDES = ("left", "right")
"""The sides L and R of a weight viewed as (g, L, R)."""


class Block(ABC):
    """The block of the parameters at `places`, one after another, of the stage's vector of trained parameters."""

    form: ClassVar[str]
    curvature: Tensor
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
    def empty(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """`curvature` of no example."""

    @abstractmethod
    def measured(self, factors: list[list[Factor]]) -> Tensor:
        """Second pass: what a batch adds to `curvature`."""

    def state(self) -> dict[str, Tensor]:
        """What the passes found."""
        return {"curvature": self.curvature}

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
        """Nothing to do."""

    def empty(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        (place,) = self.places
        return torch.zeros(place.stop - place.start, dtype=dtype, device=device)

    def measured(self, factors: list[list[Factor]]) -> Tensor:
        return summed_gradients(factors[0]).square().sum(0)

    def solve(self, queries: Tensor, count: int, shift: Tensor) -> Tensor:
        return queries / (self.curvature.to(queries) / count + shift)


class Full(Block):
    """The full matrix of a small parameter: the second moment of its random gradients."""

    form = "full"

    def see(self, factors: list[list[Factor]]) -> None:
        """Nothing to do: the second pass accumulates the whole matrix."""

    def turn(self) -> None:
        """Nothing to do."""

    def empty(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        (place,) = self.places
        size = place.stop - place.start
        return torch.zeros(size, size, dtype=torch.float64, device=device)

    def measured(self, factors: list[list[Factor]]) -> Tensor:
        rows = summed_gradients(factors[0]).double()
        return rows.T @ rows

    def solve(self, queries: Tensor, count: int, shift: Tensor) -> Tensor:
        # A full block has a single parameter, so the shift is one number.
        matrix = self.curvature.to(queries.device) / count
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
        self.moments = [Moment(side) for side in sides]
        self.axes = [Axes(side) for side in sides]

    def see(self, factors: list[list[Factor]]) -> None:
        rows_are_axes = any(isinstance(factor, TableRows) for factor in factors[0])
        for factor in factors[0]:
            if isinstance(factor, Outer):
                for side, rows in enumerate(self._rows(factor)):
                    if side or not rows_are_axes:
                        self.moments[side].add(rows.transpose(0, 1).flatten(1, 2))  # (g, n P, side)
            elif isinstance(factor, TableRows):
                self.moments[1].add(factor.values.flatten(0, 1)[None])

    def turn(self) -> None:
        self.axes = [moment.axes() for moment in self.moments]
        self.moments = []  # they may be long

    def empty(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        left, right = (axes.count for axes in self.axes)
        return torch.zeros(self.groups, left, right, dtype=dtype, device=device)

    def measured(self, factors: list[list[Factor]]) -> Tensor:
        left, right = self.axes
        if (sides := self._squared_sides(factors)) is not None:
            a, b = (axes.a_dimension(side) for side, axes in zip(sides, self.axes, strict=True))
            return torch.einsum("ngl,ngr->glr", a, b)
        found = sum(squares.sum(0) for squares in self._squares_along(factors))
        assert isinstance(found, Tensor)
        return left.a_dimension(right.a_dimension(found).mT).mT

    def _squared_sides(self, factors: list[list[Factor]]) -> list[Tensor] | None:
        """Where each gradient is one outer product, the squares of its sides along the axes, (n, g, l) and (n, g, r).

        The squares of an outer product are the outer product of the squares. None: gradients are of another form.
        """
        first = factors[0][0]
        if len(factors[0]) > 1 or not isinstance(first, Outer) or first.positions > 1:
            return None
        sides = zip(self._rows(first), self.axes, strict=True)
        return [axes.gathered(axes.turned(rows)[:, :, 0].square()) for rows, axes in sides]

    def _squares_along(self, factors: list[list[Factor]]) -> Iterator[Tensor]:
        """Squares of one batch's gradients along the axes, (n, g, l, r), some examples at a time."""
        left, right = self.axes
        count, itemsize = factors[0][0].shape[0], torch.float32.itemsize
        step = max(1, CHUNK_BYTES // (itemsize * self.groups * left.width * right.width))
        for start in range(0, count, step):
            some = [[factor[start : start + step] for factor in several] for several in factors]
            if all(map(self._sooner_turned, some[0])):
                # Rotate the two sides before they are multiplied.
                turned = summed_gradients([self._turned_factor(factor) for factor in some[0]])
                yield self._gathered(turned.view(len(turned), self.groups, left.width, right.width).square())
            else:
                yield self._gathered(
                    self._turned(self._joined([summed_gradients(several) for several in some])).square()
                )

    def _gathered(self, squares: Tensor) -> Tensor:
        left, right = self.axes
        return left.gathered(right.gathered(squares).mT).mT

    def _turned(self, rows: Tensor) -> Tensor:
        """(n, g, L, R) along the axes of both sides."""
        left, right = self.axes
        return left.turned(right.turned(rows).mT).mT

    def _sooner_turned(self, factor: Factor) -> bool:
        """Whether rotating a factor's two sides takes fewer multiplications than rotating the gradient."""
        left, right = self.axes
        if isinstance(factor, TableRows):
            return left.basis is None and not self.bias
        whole = self.sides[0] * right.multiplications + right.width * left.multiplications
        return isinstance(factor, Outer) and factor.positions * (left.multiplications + right.multiplications) < whole

    def _turned_factor(self, factor: Factor) -> Factor:
        if isinstance(factor, TableRows):
            return TableRows(factor.index, self.axes[1].turned(factor.values[None])[0], factor.count)
        assert isinstance(factor, Outer)
        return Outer(*(axes.turned(rows) for rows, axes in zip(self._rows(factor), self.axes, strict=True)))

    def state(self) -> dict[str, Tensor]:
        axes = {side: each.basis for side, each in zip(SIDES, self.axes, strict=True) if each.basis is not None}
        return {**super().state(), **axes}

    @classmethod
    def of(cls, places: list[slice], state: Mapping[str, Tensor]) -> Self:
        curvature = state["curvature"]
        bases = [state.get(side) for side in SIDES]
        sides = [n if basis is None else basis.shape[1] for n, basis in zip(curvature.shape[1:], bases, strict=True)]
        block = cls(places, len(curvature), (sides[0], sides[1]))
        block.axes = [Axes(side, basis) for side, basis in zip(sides, bases, strict=True)]
        block.curvature = curvature
        return block

    def norms(self, queries: Tensor, count: int, shift: Tensor) -> Tensor:
        squares = self._gathered(self._turned(self._split(queries)).square())
        return squares.flatten(1) @ (1 / self._shifted(count, shift).to(queries)).flatten()

    def norms_of(self, factors: list[list[Factor]], count: int, shift: Tensor) -> tuple[Tensor, Tensor]:
        weights, found = 1 / self._shifted(count, shift), []
        if (sides := self._squared_sides(factors)) is not None:
            a, b = sides
            norms = (torch.einsum("ngl,glr->ngr", a, weights.to(a)) * b).sum((1, 2))
            return norms, (a.sum(2) * b.sum(2)).sum(1)  # axes are orthogonal
        weights = weights.flatten()
        for along in self._squares_along(factors):
            squares = along.flatten(1)
            found.append(torch.stack([squares @ weights.to(squares), squares.sum(1)]))
        norms, lengths = torch.cat(found, dim=1)
        return norms, lengths

    def solve(self, queries: Tensor, count: int, shift: Tensor) -> Tensor:
        left, right = self.axes
        curvature = self._shifted(count, shift).to(queries)
        curvature = left.repeated(right.repeated(curvature).mT).mT
        found = torch.empty_like(queries)
        step = max(1, CHUNK_BYTES // (queries.element_size() * curvature.numel()))
        for start in range(0, len(queries), step):
            rows = self._turned(self._split(queries[start : start + step])) / curvature
            rows = right.back(left.back(rows.mT).mT)
            split = [rows[..., :-1], rows[..., -1]] if self.bias else [rows]
            found[start : start + step] = torch.cat([part.flatten(1) for part in split], dim=1)
        return found

    def _shifted(self, count: int, shift: Tensor) -> Tensor:
        """The eigenvalues plus the diagonal of `shift` along the axes, (g, l, r)."""
        curvature, axes = self.curvature / count + shift[0], self.axes[1]
        if not self.bias:
            return curvature
        bias = shift[-1] - shift[0]  # l2 often is of weights only; the bias is the last column
        if axes.basis is None:
            return torch.cat([curvature[..., :-1], curvature[..., -1:] + bias], dim=-1)
        return curvature + (axes.shares(-1) * bias)[:, None]

    def _split(self, queries: Tensor) -> Tensor:
        return self._joined(list(queries.split([s.stop - s.start for s in self.places], dim=1)))

    def _joined(self, parts: list[Tensor]) -> Tensor:
        """Weight (n, g L R) and bias (n, g L) as one (n, g, L, R + 1)."""
        split = [part.reshape(len(part), self.groups, self.sides[0], -1) for part in parts]
        return torch.cat(split, dim=-1) if self.bias else split[0]

    def _rows(self, factor: Outer) -> tuple[Tensor, Tensor]:
        """(n, g, P, L), (n, g, P, R), the bias's input 1 appended."""
        right = factor.right
        return factor.left, torch.cat([right, torch.ones_like(right[..., :1])], dim=-1) if self.bias else right


FORMS: dict[str, type[Block]] = {block.form: block for block in (Diagonal, Full, Kronecker)}


def state_of(blocks: Mapping[tuple[str, ...], Block]) -> dict[str, Tensor]:
    """JSON of [form, names, what] -> what the blocks found."""
    return {
        json.dumps([block.form, names, what]): tensor.contiguous()
        for names, block in blocks.items()
        for what, tensor in block.state().items()
    }


def blocks_of(state: Mapping[str, Tensor], objective: Objective) -> dict[tuple[str, ...], Block]:
    """The blocks of a stage with the state that `state_of` gave of earlier ones."""
    found: dict[tuple[str, tuple[str, ...]], dict[str, Tensor]] = {}
    for key, tensor in state.items():
        form, names, what = json.loads(key)
        found.setdefault((form, tuple(names)), {})[what] = tensor.to(objective.device)
    places = objective.trained.slices
    return {names: FORMS[form].of([places[n] for n in names], each) for (form, names), each in found.items()}
