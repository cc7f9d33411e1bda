"""Block conjugate gradients: all right-hand sides in one Krylov space, refined by residuals of higher precision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ROUNDING = torch.finfo(torch.float64).eps


def refined(
    operator: Callable[[Tensor], Tensor],
    precise: Callable[[Tensor], Tensor],
    sides: Tensor,
    tolerance: float,
    iterations: int,
    precondition: Callable[[Tensor], Tensor] | None = None,
    rounding: float = ROUNDING,
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve A x = b for every row b of `sides` (Q, P): conjugate gradients with iterative refinement.

    With products in float32, the true residual is larger than the one that the iterations update. `precise` gives the
    true residual, for which the iterations are then repeated. `rounding` is that of the products of `operator`.

    Returns:
        Solutions (Q, P); true relative residuals |b - A x| / |b| (Q,); iterations of each row (Q,).

    Raises:
        FloatingPointError: a search direction has no positive curvature, beyond rounding.
    """
    norms = sides.norm(dim=1)
    scale = norms.clamp(min=torch.finfo(norms.dtype).tiny)
    solution, counts = torch.zeros_like(sides), torch.zeros(len(sides), dtype=torch.long)
    left, share = sides, (norms > 0).to(norms)
    while int(counts.max()) < iterations:
        worst = float(share.max())
        if not worst > tolerance:  # also where it is no number
            break
        # Half of the tolerance, since the iterations underestimate the residual a little.
        step, done = conjugate_gradients(
            operator, left, tolerance / 2 * scale, iterations - int(counts.max()), precondition, rounding
        )
        counts += done
        after = sides - precise(solution + step)
        improved = after.norm(dim=1) / scale
        if float(improved.max()) < worst or worst == 1:
            solution, left, share = solution + step, after, improved
        if worst < 1 and float(improved.max()) > worst / 2:  # the products are not precise enough for more
            break
    return solution, share, counts


def conjugate_gradients(
    operator: Callable[[Tensor], Tensor],
    sides: Tensor,
    bounds: Tensor,
    iterations: int,
    precondition: Callable[[Tensor], Tensor] | None = None,
    rounding: float = ROUNDING,
) -> tuple[Tensor, Tensor]:
    """Solve A x = b for every row b of `sides` (Q, P), A symmetric positive definite, in one block Krylov space.

    Dubrulle's variant: the residuals are an orthonormal block (in the inner product of the preconditioner) times a
    small matrix, so that equal, dependent or converged right-hand sides do no harm. A row has converged when the norm
    of its residual is below its entry of `bounds` (Q,). `precondition` maps rows by a symmetric positive definite
    matrix close to the inverse of A. `rounding` is the relative error of the operator's products.

    Returns:
        Solutions (Q, P); the iteration at which each row converged (Q,).

    Raises:
        FloatingPointError: a search direction has no positive curvature, beyond rounding.
    """
    columns = sides.T
    norms = columns.norm(dim=0)
    scale = norms.clamp(min=torch.finfo(norms.dtype).tiny)
    basis, near, mix = _orthonormal(columns / scale, precondition)
    directions, solution = near, torch.zeros_like(columns)
    counts = torch.zeros(len(sides), dtype=torch.long)
    open_ = norms > bounds
    for done in range(1, iterations + 1):
        if not open_.any():
            break
        image = operator(directions.T).T
        step = _inverse(directions.T @ image, rounding)
        solution = solution + directions @ (step @ mix)
        basis, near, change = _orthonormal(basis - image @ step, precondition)
        directions = near + directions @ change.T
        mix = change @ mix
        counts[open_.cpu()] = done
        left = mix if precondition is None else basis @ mix
        open_ = open_ & (left.norm(dim=0) * norms > bounds)
    return (solution * scale).T, counts


def _orthonormal(columns: Tensor, precondition: Callable[[Tensor], Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
    """B (P, Q), M B and C (Q, Q) with columns (P, Q) = B C and B'M B = I, M being the preconditioner."""
    basis, mix = torch.linalg.qr(columns)
    if precondition is None:
        return basis, basis, mix
    near = precondition(basis.T).T
    energy = basis.T @ near
    factor = torch.linalg.cholesky((energy + energy.T) / 2, upper=True)
    return (
        torch.linalg.solve_triangular(factor, basis, upper=True, left=False),
        torch.linalg.solve_triangular(factor, near, upper=True, left=False),
        factor @ mix,
    )


def _inverse(energy: Tensor, rounding: float) -> Tensor:
    """Inverse of the directions' curvature (Q, Q), without the directions whose curvature is rounding beside others'.

    Raises:
        FloatingPointError: it is not positive definite, beyond rounding.
    """
    eigenvalues, vectors = torch.linalg.eigh((energy + energy.T) / 2)
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    if not largest > 0 or smallest < -rounding * largest:
        raise FloatingPointError(f"conjugate gradients met a direction of curvature {smallest:.3g}.")
    kept = eigenvalues > len(eigenvalues) * ROUNDING * largest
    return (vectors[:, kept] / eigenvalues[kept]) @ vectors[:, kept].T
