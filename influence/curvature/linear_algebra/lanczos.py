"""The Lanczos iteration: extreme eigenvectors of a matrix from its products with vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ROUNDING = 100 * torch.finfo(torch.float64).eps
"""Share of an image below which what is new in it is rounding."""


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
    eigenvalues), a new random vector is added, so that repeated eigenvalues are found as often as they occur. The
    operator's matrix in the basis is kept whole, not its three diagonals only, which rounding leaves incomplete where
    eigenvalues differ by many orders of magnitude.
    """
    count = min(iterations, size)
    basis = torch.zeros(count, size, dtype=torch.float64, device=device)
    matrix = torch.zeros(count, count, dtype=torch.float64, device=device)  # its upper triangle
    fresh = torch.randn(size, generator=generator, dtype=torch.float64).to(device)
    for i in range(count):
        basis[i] = fresh / fresh.norm()
        image = operator(basis[i : i + 1])[0]
        matrix[: i + 1, i] = basis[: i + 1] @ image
        fresh = _rejected(image, basis[: i + 1])
        if not float(fresh.norm()) > ROUNDING * float(image.norm()):
            fresh = _rejected(torch.randn(size, generator=generator, dtype=torch.float64).to(device), basis[: i + 1])
    values, vectors = torch.linalg.eigh(matrix, UPLO="U")
    return values, vectors.T @ basis


def _rejected(row: Tensor, basis: Tensor) -> Tensor:
    """The row, orthogonalised against the orthonormal basis; twice, against rounding."""
    for _ in range(2):
        row = row - (row @ basis.T) @ basis
    return row
