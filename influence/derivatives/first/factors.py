"""Per-example gradients of one parameter as factors: layer input and output gradient, multiplied only when cheaper.

The gradient of a weight is the outer product of the layer's input and the gradient at its output. Dot products with
query vectors are taken from the two factors; the gradient itself (a "formed" gradient) is computed only where that is
cheaper. The first dimension of every tensor is the batch of n examples.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

CHUNK_BYTES = 2**25
"""Bytes of an intermediate result. A CPU's shared cache holds a good part of it, and it is small on any device."""


CORE_CACHE_BYTES = 2**21
"""Bytes of an intermediate result that is used at once: the size of one core's own cache."""


WORTH_PICKING = 2**23
"""Multiplications per unit (examples times queries times inputs) above which skipping zero gradients pays."""


class Factor(ABC):
    """Per-example gradients (n, size) of one parameter."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(n, size)."""

    @abstractmethod
    def __getitem__(self, examples: slice | list[int]) -> Factor:
        """The factor of some of the examples."""

    @abstractmethod
    def gradients(self) -> Tensor:
        """The gradients, multiplied out: (n, size)."""

    @abstractmethod
    def weighted(self, weights: Tensor) -> Tensor:
        """Sum over examples of weight times gradient: (size,). `weights` is (n,)."""

    @abstractmethod
    def add_dots(self, scores: Tensor, vectors: Tensor) -> None:
        """Add the dot products with `vectors` (Q, size), whose rows may be strided, to `scores` (n, Q).

        Vectors of half precision are multiplied in half precision.
        """


Factors = Mapping[str, list[Factor]]
"""parameter -> factors of a batch. A parameter used several times has several; its gradient is their sum."""


def nonzero_columns(side: Tensor) -> Tensor:
    """Columns of (..., C) with at least one non-zero entry: a mask (C,)."""
    rows = side.flatten(0, -2)
    return (rows.amax(0) != 0) | (rows.amin(0) != 0) if len(rows) else rows.any(0)


def _add_product(scores: Tensor, gradients: Tensor, vectors: Tensor) -> None:
    """Add gradients (n, K) times vectors (Q, K)' to scores (n, Q), in the precision of the vectors."""
    if vectors.dtype == scores.dtype:
        scores.addmm_(gradients, vectors.T)
    else:
        scores += gradients.to(vectors.dtype) @ vectors.T


def add_sum_of_dots(scores: Tensor, several: list[Factor], vectors: Tensor) -> None:
    """Add the dot products with `vectors` (Q, size) of a parameter that is used several times to `scores` (n, Q).

    If one of the factors must be multiplied out anyway (tied output weights, say), all of them are, and are summed
    first: the others then cost next to nothing.
    """
    if len(several) == 1 or not any(isinstance(f, Outer) and f.positions > 1 for f in several):
        for factor in several:
            factor.add_dots(scores, vectors)
        return
    count, size = several[0].shape
    rows = max(1, CHUNK_BYTES // (scores.element_size() * size))
    for start in range(0, count, rows):
        part = slice(start, start + rows)
        _add_product(scores[part], summed_gradients([factor[part] for factor in several]), vectors)


def summed_gradients(several: list[Factor]) -> Tensor:
    """Gradients (n, size) of a parameter that is used several times: the sum of its factors."""
    formed = several[0].gradients()
    for factor in several[1:]:
        formed = formed + factor.gradients()
    return formed


class Dense(Factor):
    """Gradients (n, size) multiplied out: of small parameters (biases, norms), and of parameters without a layer rule.

    Args:
        gradients: (n, ...).
        left_of: for a bias, the name of its layer's weight. A bias's gradient is the weight's `Outer.left`, summed
            over positions.
    """

    def __init__(self, gradients: Tensor, left_of: str | None = None):
        self._gradients = gradients.flatten(1)
        self.left_of = left_of

    @property
    def shape(self) -> tuple[int, int]:
        return self._gradients.shape[0], self._gradients.shape[1]

    def __getitem__(self, examples: slice | list[int]) -> Dense:
        return Dense(self._gradients[examples])

    def gradients(self) -> Tensor:
        return self._gradients

    def weighted(self, weights: Tensor) -> Tensor:
        return weights @ self._gradients

    def add_dots(self, scores: Tensor, vectors: Tensor) -> None:
        _add_product(scores, self._gradients, vectors)


class Outer(Factor):
    """gradient[n, g] = sum over positions p of left[n, g, p] (outer) right[n, g, p], the parameter viewed as (g, L, R).

    A linear layer has one group and one position for each token (one in all without a sequence). A convolution has
    its groups, and one position for each place of the kernel.

    Args:
        left: (n, g, P, L), the gradients at the layer's output.
        right: (n, g, P, R), the layer's inputs.
    """

    def __init__(self, left: Tensor, right: Tensor):
        self.left, self.right = left, right
        self.groups, self.positions = left.shape[1], left.shape[2]
        self.sides = left.shape[3], right.shape[3]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.left), self.groups * math.prod(self.sides)

    def __getitem__(self, examples: slice | list[int]) -> Outer:
        return Outer(self.left[examples], self.right[examples])

    def gradients(self) -> Tensor:
        return torch.matmul(self.left.transpose(2, 3), self.right).flatten(1)

    def weighted(self, weights: Tensor) -> Tensor:
        if self.groups * self.positions > 1 and self.fits:
            return weights @ self.formed
        left = (self.left * weights[:, None, None, None]).transpose(0, 1).flatten(1, 2)
        return torch.bmm(left.transpose(1, 2), self.right.transpose(0, 1).flatten(1, 2)).flatten()

    @property
    def fits(self) -> bool:
        """Whether the multiplied-out gradients of all n examples fit into `CHUNK_BYTES`."""
        return self.left.element_size() * math.prod(self.shape) <= CHUNK_BYTES

    @cached_property
    def formed(self) -> Tensor:
        return self.gradients()

    def add_dots(self, scores: Tensor, vectors: Tensor) -> None:
        if self.groups > 1 or self.positions > 1:
            self._add_by_positions(scores, vectors)
        elif self._mostly_idle(len(vectors)):
            self._add_where_active(scores, vectors)
        elif self._soon_contracted(len(vectors)) and vectors.dtype == self.left.dtype:
            self._add_contracted(scores, vectors)
        else:
            self._add_blocked(scores, vectors)

    def _add_by_positions(self, scores: Tensor, vectors: Tensor) -> None:
        """Multiply the gradients out, all at once where they fit, else some examples at a time."""
        if self.fits:
            _add_product(scores, self.formed, vectors)
            return
        rows = max(1, CHUNK_BYTES // (self.left.element_size() * self.shape[1]))
        for start in range(0, len(scores), rows):
            part = slice(start, start + rows)
            _add_product(scores[part], self[part].gradients(), vectors)

    def _add_contracted(self, scores: Tensor, vectors: Tensor) -> None:
        """Bilinear form of every query's matrix: a matrix product over the longer side, a sum over the shorter."""
        left, right = self.left[:, 0, 0].T, self.right[:, 0, 0].T
        matrices = vectors.reshape(len(vectors), *self.sides)
        step = max(1, CORE_CACHE_BYTES // (left.element_size() * len(scores) * min(self.sides)))
        for part in range(0, len(vectors), step):
            some = matrices[part : part + step]
            if self.sides[0] > self.sides[1]:
                inner, short = some.mT @ left, right
            else:
                inner, short = (some.flatten(0, 1) @ right).unflatten(0, some.shape[:2]), left
            scores[:, part : part + step] += inner.mul_(short).sum(1).T

    def _soon_contracted(self, queries: int) -> bool:
        """Whether `_add_contracted` is the cheapest: few queries, and matrices that are not too thin."""
        return queries < min(max(self.sides), 8 * min(self.sides))

    def _mostly_idle(self, queries: int) -> bool:
        """Whether enough output gradients are zero (dead ReLUs) that skipping these units pays."""
        if self.left.device.type != "cpu":  # selecting would synchronise with the device
            return False
        active = float(self.left.count_nonzero()) / self.left.numel()
        return active < 0.6 and active * queries * len(self.left) * self.sides[1] > WORTH_PICKING

    def _add_where_active(self, scores: Tensor, vectors: Tensor) -> None:
        """Output unit by output unit, with only the examples whose gradient at that unit is not zero."""
        left, right = self.left[:, 0, 0], self.right[:, 0, 0]
        for unit, rows in enumerate(vectors.split(self.sides[1], dim=1)):
            examples = left[:, unit].nonzero().flatten()
            gradients = right[examples] * left[examples, unit, None]
            scores.index_add_(0, examples, (gradients.to(rows.dtype) @ rows.T).to(scores.dtype))

    def _add_blocked(self, scores: Tensor, vectors: Tensor) -> None:
        """Multiply out a few rows of the gradient at a time, and use them for all queries while they are cached."""
        left, right = self.left[:, 0, 0], self.right[:, 0, 0]
        width = self.sides[1]
        step = max(1, CHUNK_BYTES // 4 // (right.element_size() * right.numel()))
        for start in range(0, self.sides[0], step):
            block = (left[:, start : start + step, None] * right[:, None, :]).flatten(1)
            _add_product(scores, block, vectors[:, start * width : start * width + block.shape[1]])


class PatchOuter(Outer):
    """The `Outer` of a convolution: `right`, the patches under the kernel, is unfolded a few examples at a time.

    Args:
        left: (n, g, P, L).
        source: (n, ...), the layer's inputs.
        width: R.
        unroll: some rows of `source` -> their patches (n, g, P, R).
    """

    def __init__(self, left: Tensor, source: Tensor, width: int, unroll: Callable[[Tensor], Tensor]):
        self.left, self.source, self.unroll = left, source, unroll
        self.groups, self.positions = left.shape[1], left.shape[2]
        self.sides = left.shape[3], width

    @cached_property
    def right(self) -> Tensor:  # type: ignore[override]
        return self.unroll(self.source)

    def __getitem__(self, examples: slice | list[int]) -> PatchOuter:
        return PatchOuter(self.left[examples], self.source[examples], self.sides[1], self.unroll)

    def gradients(self) -> Tensor:
        found = self.left.new_empty(len(self.left), self.groups, *self.sides)
        step = max(1, CORE_CACHE_BYTES // (self.left.element_size() * self.groups * self.positions * self.sides[1]))
        for start in range(0, len(found), step):
            part = slice(start, start + step)
            right = self.unroll(self.source[part])
            torch.matmul(self.left[part].transpose(2, 3), right, out=found[part])
        return found.flatten(1)


class TableRows(Factor):
    """Gradients of an embedding table: `values[n, p]` is added to row `index[n, p]` of example n's gradient.

    Args:
        index: (n, P), rows of the table.
        values: (n, P, E).
        count: number of rows of the table.
    """

    def __init__(self, index: Tensor, values: Tensor, count: int):
        self.index, self.values, self.count = index, values, count

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.index), self.count * self.values.shape[2]

    def __getitem__(self, examples: slice | list[int]) -> TableRows:
        return TableRows(self.index[examples], self.values[examples], self.count)

    def gradients(self) -> Tensor:
        n, positions, width = self.values.shape
        formed = self.values.new_zeros(n, self.count, width)
        formed.scatter_add_(1, self.index[:, :, None].expand(n, positions, width), self.values)
        return formed.flatten(1)

    def weighted(self, weights: Tensor) -> Tensor:
        values = self.values * weights[:, None, None]
        formed = values.new_zeros(self.count, values.shape[2])
        return formed.index_add_(0, self.index.flatten(), values.flatten(0, 1)).flatten()

    def add_dots(self, scores: Tensor, vectors: Tensor) -> None:
        width = self.values.shape[2]
        tables = vectors.unflatten(1, (self.count, width))
        used, places = self.index.unique(return_inverse=True)
        if len(vectors) > self.values.shape[1]:
            step = max(1, CHUNK_BYTES // (self.values.element_size() * self.index.numel()))
            for start in range(0, len(vectors), step):
                some = slice(start, start + step)
                self._add_row_by_row(scores[:, some], tables[some], used, places)
            return
        step = max(1, CHUNK_BYTES // (self.values.element_size() * max(self.values.numel(), len(used) * width)))
        for part in range(0, len(vectors), step):
            rows = tables[part : part + step, used]  # (q, used, E)
            scores[:, part : part + step] += torch.einsum("npe,qnpe->nq", self.values.to(rows), rows[:, places])

    def _add_row_by_row(self, scores: Tensor, tables: Tensor, used: Tensor, places: Tensor) -> None:
        """Add the dot products to `scores` (n, q), a product for all uses of a row, for many queries.

        Args:
            scores: (n, q).
            tables: (q, count, E), the queries' vectors, which are not copied.
            used: (U,), rows of the table that the examples use.
            places: (n, P), which of these each use is of.
        """
        order = places.flatten().argsort()
        values = self.values.flatten(0, 1)[order].to(tables.dtype)
        products = tables.new_empty(len(values), len(tables))
        ends = places.flatten().bincount(minlength=len(used)).cumsum(0).tolist()
        for row, (start, end) in zip(used.tolist(), pairwise([0, *ends]), strict=True):
            torch.mm(values[start:end], tables[:, row].T, out=products[start:end])
        examples = order // self.values.shape[1]
        scores.index_add_(0, examples, products.to(scores.dtype))
