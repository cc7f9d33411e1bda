"""Conjugate gradients on curvature products, all queries in one block: for models whose curvature does not fit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from influence.curvature.cards import CG
from influence.curvature.linear_algebra.cg_preconditioner import MAX_ROWS, Preconditioner, preconditioner
from influence.curvature.method import Method
from influence.derivatives import Objective
from influence.derivatives.second.gauss_newton import GaussNewton
from influence.derivatives.second.products import hessian_product
from influence.derivatives.second.rows import MAX_ROW_BYTES
from influence.errors import CurvatureError, MethodError

BLOCK_QUERIES = 256
"""Queries in a block. A larger block shares more search directions, but orthogonalising costs its square."""
MIN_ROWS_PER_QUERY = 100
"""A preconditioner pays if it has this many rows a query: large blocks take hardly fewer iterations with it."""


class ConjugateGradients(Method):
    """Block conjugate gradients: every curvature product serves all queries (O'Leary 1980; Dubrulle 2001).

    The Gauss-Newton matrix is stored as factored rows if they fit into `memory`, which makes a product many times
    cheaper. Else, and for the Hessian, each product is a pass over the data. For few queries, the preconditioner is the
    exact inverse of the curvature of a few hundred examples.

    Args:
        tolerance: stop when every query's residual |q - A v| is at most this share of |q|.
        iterations: stop after this many; the report names queries that have not converged.
        squared: solve (A^2 + damping^2 I) v = A q, the paper's form for indefinite Hessians (Chen et al. 2020,
            eq. 16, with lambda = damping^2 so that damping keeps its unit). Two products an iteration.
        memory: bytes for the rows.

    The report has `preconditioned`, the number of examples of the preconditioner (0: none), and for every query
    `residuals`, measured with the solution, and `iterations`.
    """

    card = CG

    def __init__(
        self,
        objective: Objective,
        *,
        damping: float | None = None,
        curvature: str = "ggn",
        tolerance: float = 1e-6,
        iterations: int = 1000,
        squared: bool = False,
        memory: int = MAX_ROW_BYTES,
    ):
        if not 0 < tolerance < 1:
            raise MethodError(f"tolerance is {tolerance!r}, expected a share between 0 and 1.")
        if iterations < 1:
            raise MethodError(f"iterations is {iterations!r}, expected at least 1.")
        if memory < 0:
            raise MethodError(f"memory is {memory!r}, expected a number of bytes.")
        self.tolerance, self.iterations, self.squared, self.memory = tolerance, iterations, squared, memory
        super().__init__(objective, damping=damping, curvature=curvature)

    def fit(self) -> None:
        self.report |= {"tolerance": self.tolerance, "squared": self.squared, "residuals": [], "iterations": []}
        self._rows: GaussNewton | None = None
        if self.curvature == "ggn":
            matrix = GaussNewton(self.objective, self.memory)
            self._data_product: Callable[[Tensor], Tensor] = matrix.product
            self._rows = matrix if matrix.kept is not None else None
            self.report["rows_in_memory"] = matrix.kept is not None
        else:
            self._data_product = lambda vectors: hessian_product(self.objective, vectors)
            if not self.squared:
                smallest = self._smallest_eigenvalue()
                self.report["smallest_eigenvalue"] = smallest
                self.refuse_negative(smallest)

    def solve(self, queries: Tensor) -> Tensor:
        self.report |= {"residuals": [], "iterations": [], "preconditioned": 0}
        blocks = [self._solve_block(block) for block in queries.split(BLOCK_QUERIES)] if len(queries) else [queries]
        return torch.cat(blocks)

    def _solve_block(self, queries: Tensor) -> Tensor:
        # Iterate in float64: products may be float32, but their rounding must not add up over iterations.
        sides = queries.double()
        if self.squared:
            sides = self._product(sides)
        near = self._near_inverse(len(queries))
        self.report["preconditioned"] = near.examples if near else 0
        try:
            solution, residuals, iterations = refined(
                self._operator, self._precisely, sides, self.tolerance, self.iterations, near.solve if near else None
            )
        except FloatingPointError as error:
            if self.curvature == "hessian":
                advice = "or curvature='ggn'."
            elif float(self.objective.ridge.min()) + self.damping <= 0:
                advice = "since without l2 and damping the curvature is singular."
            else:
                advice = "for the loss is not convex in the model's outputs."
            raise CurvatureError(
                f"Stage {self.objective.stage.name!r}: {error} Use a larger damping, {advice}"
            ) from error
        self.report["residuals"] += residuals.tolist()
        self.report["iterations"] += iterations.tolist()
        return solution.to(queries.dtype)

    @cached_property
    def _preconditioner(self) -> Preconditioner | None:
        return preconditioner(self.objective, self.objective.ridge.double() + self.damping, self.memory)

    def _near_inverse(self, count: int) -> Preconditioner | None:
        """The preconditioner, if it pays for `count` queries."""
        if self.squared or count * MIN_ROWS_PER_QUERY > MAX_ROWS:
            return None
        found = self._preconditioner
        return found if found and count * MIN_ROWS_PER_QUERY <= found.rows else None

    def _operator(self, vectors: Tensor) -> Tensor:
        if self.squared:
            return self._product(self._product(vectors)) + self.damping**2 * vectors
        return self._product(vectors) + self.damping * vectors

    def _precisely(self, vectors: Tensor) -> Tensor:
        """As `_operator`, with products in float64 if the rows are stored."""
        if self._rows is None:
            return self._operator(vectors)
        if self.squared:
            once = self._rows.product(vectors, torch.float64) + self.objective.ridge * vectors
            twice = self._rows.product(once, torch.float64) + self.objective.ridge * once
            return twice + self.damping**2 * vectors
        return self._rows.product(vectors, torch.float64) + (self.objective.ridge + self.damping) * vectors

    def _product(self, vectors: Tensor) -> Tensor:
        return self._data_product(vectors) + self.objective.ridge * vectors

    def _smallest_eigenvalue(self) -> float:
        """Smallest eigenvalue of the objective's Hessian, by Lanczos to about a percent of the largest."""
        size = self.objective.trained.size

        def product(vector: np.ndarray) -> np.ndarray:
            row = torch.from_numpy(np.ascontiguousarray(vector.reshape(1, -1))).to(self.objective.device)
            return self._product(row)[0].cpu().numpy()

        if size < 20:
            basis = torch.eye(size, dtype=torch.float64, device=self.objective.device)
            return float(torch.linalg.eigvalsh(self._product(basis))[0])
        start = np.random.default_rng(0).normal(size=size)
        operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
        try:
            return float(eigsh(operator, k=1, which="SA", v0=start, tol=1e-2, return_eigenvectors=False)[0])
        except ArpackNoConvergence as error:
            raise CurvatureError(
                f"Stage {self.objective.stage.name!r}: the Hessian's smallest eigenvalue could not be "
                f"found ({error}). Use curvature='ggn'."
            ) from error


def refined(
    operator: Callable[[Tensor], Tensor],
    precise: Callable[[Tensor], Tensor],
    sides: Tensor,
    tolerance: float,
    iterations: int,
    precondition: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve A x = b for every row b of `sides` (Q, P): conjugate gradients with iterative refinement.

    With products in float32, the true residual is larger than the one that the iterations update. `precise` gives the
    true residual, for which the iterations are then repeated.

    Returns:
        Solutions (Q, P); true relative residuals |b - A x| / |b| (Q,); iterations of each row (Q,).

    Raises:
        FloatingPointError: a search direction has no positive curvature.
    """
    norms = sides.norm(dim=1)
    scale = norms.clamp(min=torch.finfo(norms.dtype).tiny)
    solution, counts = torch.zeros_like(sides), torch.zeros(len(sides), dtype=torch.long)
    left, share = sides, (norms > 0).to(norms)
    while int(counts.max()) < iterations:
        worst = float(share.max())
        if worst <= tolerance:
            break
        # Half of the tolerance, since the iterations underestimate the residual a little.
        step, done = conjugate_gradients(
            operator, left, tolerance / 2 * scale, iterations - int(counts.max()), precondition
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
) -> tuple[Tensor, Tensor]:
    """Solve A x = b for every row b of `sides` (Q, P), A symmetric positive definite, in one block Krylov space.

    Dubrulle's variant: the residuals are an orthonormal block (in the inner product of the preconditioner) times a
    small matrix, so that equal, dependent or converged right-hand sides do no harm. A row has converged when the norm
    of its residual is below its entry of `bounds` (Q,). `precondition` maps rows by a symmetric positive definite
    matrix close to the inverse of A.

    Returns:
        Solutions (Q, P); the iteration at which each row converged (Q,).

    Raises:
        FloatingPointError: a search direction has no positive curvature.
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
        step = _inverse(directions.T @ image)
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


def _inverse(energy: Tensor) -> Tensor:
    """Inverse of the directions' curvature (Q, Q).

    Raises:
        FloatingPointError: it is not positive definite.
    """
    eigenvalues, vectors = torch.linalg.eigh((energy + energy.T) / 2)
    if eigenvalues[0] <= 0:
        raise FloatingPointError(f"conjugate gradients met a direction of curvature {float(eigenvalues[0]):.3g}.")
    return (vectors / eigenvalues) @ vectors.T
