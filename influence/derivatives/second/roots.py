"""The square root of a loss's Hessian in the outputs, for outputs of few numbers an example.

The rows of the Gauss-Newton matrix are this square root times the Jacobian of the outputs.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from influence.derivatives.second.outputs import OutputLoss

MAX_OUTPUTS = 128
"""Outputs of an example (classes, say) up to which their Hessian is decomposed."""


def hessian_roots(curve: OutputLoss, count: int, most: int = MAX_OUTPUTS) -> Iterator[list[Tensor]] | None:
    """Square root of d2 loss / d outputs2: vectors r_k, of the points' shapes, with sum_k r_k r_k' equal to it.

    They are the eigenvectors of every example's Hessian times the roots of the eigenvalues, the largest first. None if
    there is no such root: outputs that are not (B, ...), more than `most`, or a loss that is not convex in them.
    """
    width = sum(point.numel() for point in curve.points) // count
    if not 0 < width <= most or not curve.examples_first(count):
        return None
    if not any(gradient.requires_grad for gradient in curve.output_gradients):  # linear in the outputs
        return iter(())
    matrix = _curvature(torch.cat([s.reshape(count, -1) for s in curve.output_gradients], dim=1), curve.points)
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    largest = eigenvalues[:, -1:].clamp(min=0)
    rounding = width * torch.finfo(curve.points[0].dtype).eps * largest.max()
    if (eigenvalues < -rounding).any():
        return None
    scaled = vectors * eigenvalues.clamp(min=0).sqrt()[:, None, :]
    kept = [k for k in reversed(range(width)) if float(eigenvalues[:, k].max()) > float(rounding)]
    return (_like(scaled[:, :, k], curve.points) for k in kept)


def _curvature(gradient: Tensor, points: list[Tensor]) -> Tensor:
    """Hessian (n, K, K) of every example, in float64: one backward pass of the loss alone for each column."""
    columns = []
    for k in range(gradient.shape[1]):
        column = torch.autograd.grad(gradient[:, k].sum(), points, retain_graph=True, allow_unused=True)
        filled = [torch.zeros_like(p) if c is None else c for c, p in zip(column, points, strict=True)]
        columns.append(torch.cat([c.reshape(len(gradient), -1) for c in filled], dim=1))
    matrix = torch.stack(columns, dim=2).double()
    return (matrix + matrix.transpose(1, 2)) / 2


def _like(row: Tensor, points: list[Tensor]) -> list[Tensor]:
    """(n, K) split into tensors of the points' shapes."""
    parts = row.split([p.numel() // len(p) for p in points], dim=1)
    return [part.to(p).view_as(p) for part, p in zip(parts, points, strict=True)]
