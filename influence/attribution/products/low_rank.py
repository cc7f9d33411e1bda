"""Vectors that are matrices of low rank, and their dot products with the gradients of linear layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from influence.derivatives.first.factors import Factor, Outer, add_sum_of_dots

EXTRA_DIRECTIONS = 4
"""Random directions beyond the rank, for the range finder (oversampling)."""


@dataclass
class LowRank:
    """Vectors (Q, L R) as sum_r left[r, q] (outer) right[r, q]: left (r, Q, L), right (r, Q, R), the largest first."""

    left: Tensor
    right: Tensor

    def __getitem__(self, queries: Tensor) -> LowRank:
        return LowRank(self.left[:, queries], self.right[:, queries])

    @property
    def rank(self) -> int:
        return len(self.left)

    def leading(self, rank: int) -> LowRank:
        """The leading directions: the same vectors with a smaller rank."""
        return LowRank(self.left[:rank], self.right[:rank])

    def to(self, dtype: torch.dtype) -> LowRank:
        return LowRank(self.left.to(dtype), self.right.to(dtype))


def low_rank(matrices: Tensor, rank: int) -> LowRank:
    """The leading `rank` singular directions of matrices (Q, L, R), by a seeded range finder (Halko et al. 2011)."""
    short = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    generator = torch.Generator().manual_seed(0)
    width = min(rank + EXTRA_DIRECTIONS, short.shape[1])
    span = short @ torch.randn(short.shape[2], width, generator=generator).to(short)
    span = short @ (short.mT @ torch.linalg.qr(span)[0])
    span = torch.linalg.qr(span)[0]
    inside = span.mT @ short
    # Within the span, the leading directions are the eigenvectors of the small Gram matrix.
    within = torch.linalg.eigh(inside @ inside.mT)[1].flip(2)[:, :, :rank]
    axes = (span @ within).permute(2, 0, 1).contiguous()  # (r, Q, short side)
    other = (within.mT @ inside).transpose(0, 1).contiguous()
    return LowRank(axes, other) if short is matrices else LowRank(other, axes)


def dots_by_direction(factor: Outer, vectors: LowRank) -> Tensor:
    """Dot products of a linear layer's gradients with each of the directions, (n, r, Q): two thin matrix products."""
    left, right = (side[:, 0, 0].to(vectors.left.dtype) for side in (factor.left, factor.right))
    a, b = left @ vectors.left.flatten(0, 1).T, right @ vectors.right.flatten(0, 1).T
    return a.mul_(b).unflatten(1, vectors.left.shape[:2])


def add_dots(scores: Tensor, factors: list[Factor], vectors: Tensor | LowRank) -> None:
    """Add a parameter's dot products, with dense or low-rank vectors, to `scores` (n, q)."""
    if isinstance(vectors, LowRank):
        (factor,) = factors
        assert isinstance(factor, Outer)
        scores += dots_by_direction(factor, vectors).sum(1, dtype=scores.dtype)
    else:
        add_sum_of_dots(scores, factors, vectors)
