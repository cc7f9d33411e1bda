"""A parameter's per-example gradients in the form in which a batch gives them, contracted without ever being larger.

A gradient of a weight is a product of what went into the layer and what came back to its output; only where that
product is cheaper than its parts is it formed. All tensors have the batch's n examples first.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property

import torch
from torch import Tensor

CHUNK = 2**25
"""Bytes of an intermediate result: what a processor's cache holds a good part of, and small on any device."""


class Factor(ABC):
    """Per-example gradients (n, size) of one parameter."""

    @abstractmethod
    def __getitem__(self, examples: slice | list[int]) -> Factor:
        """Of some examples."""

    @abstractmethod
    def gradients(self) -> Tensor:
        """Formed: (n, size)."""

    @abstractmethod
    def add_dots(self, scores: Tensor, vectors: Tensor) -> None:
        """Add the dot products with `vectors` (Q, size), whose rows may be strided, to `scores` (n, Q)."""


class Dense(Factor):
    """Gradients of a small parameter (a bias, a norm's weight), or of one that no rule covers: formed."""

    def __init__(self, gradients: Tensor):
        self._gradients = gradients.flatten(1)

    def __getitem__(self, examples: slice | list[int]) -> Dense:
        return Dense(self._gradients[examples])

    def gradients(self) -> Tensor:
        return self._gradients

    def add_dots(self, scores: Tensor, vectors: Tensor) -> None:
        scores.addmm_(self._gradients, vectors.T)


class Outer(Factor):
    """gradient[n] = sum over positions p of left[n, g, p] (outer) right[n, g, p], the parameter seen as (g, L, R).

    Linear layers have one group and, without a sequence, one position; convolutions a position for every place of
    the kernel.

    Args:
        left: (n, g, P, L).
        right: (n, g, P, R).
    """

    def __init__(self, left: Tensor, right: Tensor):
        self.left, self.right = left, right
        self.groups, self.positions = left.shape[1], left.shape[2]
        self.sides = left.shape[3], right.shape[3]

    def __getitem__(self, examples: slice | list[int]) -> Outer:
        return Outer(self.left[examples], self.right[examples])

    @property
    def size(self) -> int:
        return self.groups * math.prod(self.sides)

    def gradients(self) -> Tensor:
        return torch.matmul(self.left.transpose(2, 3), self.right).flatten(1)

    @cached_property
    def _formed(self) -> Tensor:
        return self.gradients()

    def add_dots(self, scores: Tensor, vectors: Tensor) -> None:
        if self.groups > 1 or self.positions > 1:
            self._add_by_positions(scores, vectors)
        elif len(vectors) * min(self.sides) < self.size:
            self._add_contracted(scores, vectors)
        else:
            self._add_blocked(scores, vectors)

    def _add_by_positions(self, scores: Tensor, vectors: Tensor) -> None:
        """The sum over positions is formed, once for all queries where it fits."""
        rows = max(1, CHUNK // (self.left.element_size() * self.size))
        if rows >= len(scores):
            scores.addmm_(self._formed, vectors.T)
            return
        for start in range(0, len(scores), rows):
            part = slice(start, start + rows)
            scores[part].addmm_(Outer(self.left[part], self.right[part]).gradients(), vectors.T)

    def _add_contracted(self, scores: Tensor, vectors: Tensor) -> None:
        """Left' V right: the longer side by one matrix product, the shorter by a sum."""
        left, right = self.left[:, 0, 0], self.right[:, 0, 0]
        matrices = vectors.reshape(len(vectors), *self.sides)
        if self.sides[0] > self.sides[1]:
            left, right, matrices = right, left, matrices.transpose(1, 2)
        for part in range(0, len(vectors), step := max(1, CHUNK // (right.element_size() * left.numel()))):
            some = matrices[part : part + step]
            inner = (right @ some.flatten(0, 1).T).unflatten(1, some.shape[:2])
            scores[:, part : part + step] += torch.bmm(inner, left[:, :, None])[..., 0]

    def _add_blocked(self, scores: Tensor, vectors: Tensor) -> None:
        """Outer products of a few rows at a time, each used for all queries while it is at hand."""
        left, right = self.left[:, 0, 0], self.right[:, 0, 0]
        width = self.sides[1]
        step = max(1, CHUNK // 4 // (right.element_size() * right.numel()))
        for start in range(0, self.sides[0], step):
            block = (left[:, start : start + step, None] * right[:, None, :]).flatten(1)
            scores.addmm_(block, vectors[:, start * width : start * width + block.shape[1]].T)


class Rows(Factor):
    """gradient[n] has `values[n, p]` added to row `index[n, p]` of the parameter: an embedding's.

    Args:
        index: (n, P).
        values: (n, P, E).
        count: rows of the parameter.
    """

    def __init__(self, index: Tensor, values: Tensor, count: int):
        self.index, self.values, self.count = index, values, count

    def __getitem__(self, examples: slice | list[int]) -> Rows:
        return Rows(self.index[examples], self.values[examples], self.count)

    def gradients(self) -> Tensor:
        n, positions, width = self.values.shape
        formed = self.values.new_zeros(n, self.count, width)
        formed.scatter_add_(1, self.index[:, :, None].expand(n, positions, width), self.values)
        return formed.flatten(1)

    def add_dots(self, scores: Tensor, vectors: Tensor) -> None:
        width = self.values.shape[2]
        tables = vectors.unflatten(1, (self.count, width))
        used, places = self.index.unique(return_inverse=True)
        step = max(1, CHUNK // (self.values.element_size() * max(self.values.numel(), len(used) * width)))
        for part in range(0, len(vectors), step):
            rows = tables[part : part + step, used]  # (q, used, E)
            if len(used) * len(scores) <= CHUNK // self.values.element_size() and len(vectors) > self.values.shape[1]:
                # Many queries: sum the positions of a word first, then one product over the words that occur.
                summed = self.values.new_zeros(len(scores), len(used), width)
                summed.scatter_add_(1, places[:, :, None].expand_as(self.values), self.values)
                scores[:, part : part + step] += summed.flatten(1) @ rows.flatten(1).T
            else:
                scores[:, part : part + step] += torch.einsum("npe,qnpe->nq", self.values, rows[:, places])
