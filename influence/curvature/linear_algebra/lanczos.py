"""The Lanczos iteration: extreme eigenvectors of a matrix from its products with vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def lanczos(
    operator: Callable[[Tensor], Tensor],
    size: int,
    iterations: int,
    generator: torch.Generator,
    *,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Ritz values (k,), ascending, and orthonormal Ritz vectors (k, size) of a symmetric operator on rows, in float64.

    k = min(iterations, size). When the Krylov space is exhausted (after as many products as there are distinct
    eigenvalues), a new random vector is added, so that repeated eigenvalues are found as often as they occur.
    """
    count = min(iterations, size)
    basis = torch.zeros(count, size, dtype=torch.float64, device=device)
    matrix = torch.zeros(count, count, dtype=torch.float64)
    scale = 0.0
    fresh = torch.randn(size, generator=generator, dtype=torch.float64).to(device)
    for i in range(count):
        basis[i] = fresh / fresh.norm()
        image = operator(basis[i : i + 1])[0]
        scale = max(scale, float(image.norm()))
        matrix[i, i] = image @ basis[i]
        fresh = _rejected(image, basis[: i + 1])
        if i + 1 == count:
            break
        if float(fresh.norm()) > 1e-10 * scale:
            matrix[i, i + 1] = matrix[i + 1, i] = fresh.norm()
        else:
            fresh = _rejected(torch.randn(size, generator=generator, dtype=torch.float64).to(device), basis[: i + 1])
    values, vectors = torch.linalg.eigh(matrix)
    return values.to(device), vectors.T.to(device) @ basis


def _rejected(row: Tensor, basis: Tensor) -> Tensor:
    """The row, orthogonalised against the orthonormal basis; twice, against rounding."""
    for _ in range(2):
        row = row - (row @ basis.T) @ basis
    return row
