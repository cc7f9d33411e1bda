"""Conjugate gradients on curvature products, all queries in one block: for models whose curvature does not fit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from influence.curvature.cards import CG
from influence.curvature.iterative import Iterative
from influence.curvature.linear_algebra.block_cg import ROUNDING, refined
from influence.curvature.linear_algebra.cg_preconditioner import MAX_ROWS, Preconditioner, preconditioner
from influence.derivatives import Objective
from influence.derivatives.precision import resolving
from influence.derivatives.second.gauss_newton import GaussNewton
from influence.derivatives.second.products import hessian_product
from influence.derivatives.second.rows import MAX_ROW_BYTES
from influence.errors import CurvatureError, MethodError

BLOCK_QUERIES = 256
"""Queries in a block. A larger block shares more search directions, but orthogonalising costs its square."""
MIN_ROWS_PER_QUERY = 100
"""A preconditioner pays if it has this many rows a query: large blocks take hardly fewer iterations with it."""
POWER_STEPS = 3
"""Steps of the power iteration for the largest eigenvalue, which only measures rounding."""
LOOSE = 10
"""Residual, in units of the tolerance, from which on products in double precision replace those that gave it."""


class ConjugateGradients(Iterative):
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
        self.working = self.objective
        if self.curvature == "ggn":
            matrix = GaussNewton(self.objective, self.memory)
            self._data_product: Callable[[Tensor], Tensor] = matrix.product
            self.rows = matrix if matrix.kept is not None else None
            self.report["rows_in_memory"] = matrix.kept is not None
            return
        self._data_product = lambda vectors: hessian_product(self.working, vectors)
        if not self.squared:
            smallest, largest = self._extreme_eigenvalues()
            self.working = resolving(self.objective, largest, smallest + self.damping)
            if self.working is not self.objective:
                smallest, largest = self._extreme_eigenvalues()
            self.report["smallest_eigenvalue"] = smallest
            self.refuse_negative(smallest)

    def solve(self, queries: Tensor) -> Tensor:
        self.report |= {"residuals": [], "iterations": [], "preconditioned": 0}
        blocks = [self._solve_block(block) for block in queries.split(BLOCK_QUERIES)] if len(queries) else [queries]
        return torch.cat(blocks)

    def _solve_block(self, queries: Tensor) -> Tensor:
        # Iterate in float64: products may be float32, but their rounding must not add up over iterations.
        sides = self.sides(queries)
        near = self._near_inverse(len(queries))
        self.report["preconditioned"] = near.examples if near else 0
        try:
            found = self._converged(sides, near.solve if near else None)
        except FloatingPointError as error:
            raise CurvatureError(
                f"Stage {self.objective.stage.name!r}: {error} Use a larger damping, {self._advice()}"
            ) from error
        solution, residuals, iterations = found
        self.report["residuals"] += residuals.tolist()
        self.report["iterations"] += iterations.tolist()
        return solution.to(queries.dtype)

    def _converged(
        self, sides: Tensor, precondition: Callable[[Tensor], Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `refined`; with products in double precision where those in the model's do not converge."""
        single = self.working.dtype != torch.float64
        limits = self.tolerance, self.iterations, precondition
        try:
            rounding = 10 * torch.finfo(self.working.dtype).eps
            found = refined(self._operator, self._residual_operator, sides, *limits, rounding)
            worst, ended = float(found[1].max()), int(found[2].max()) >= self.iterations
            # More passes are worth it only where rounding is at fault: the iterations led nowhere, or were more than
            # exact ones would take.
            short = ended and self.rows is None and worst < 1 and self.iterations < self.objective.trained.size
            if worst <= LOOSE * self.tolerance or not single or short:
                return found
        except FloatingPointError:
            if not single:
                raise
        return refined(self.precise_operator, self.precise_operator, sides, *limits, 10 * ROUNDING)

    def _advice(self) -> str:
        """What to do where a direction without curvature was met."""
        if self.curvature == "hessian":
            return "or curvature='ggn'."
        if float(self.objective.ridge.min()) + self.damping <= 0:
            return "since without l2 and damping the curvature is singular."
        if self.rows is not None:  # a sum of squares
            return "for the curvature's eigenvalues differ by more than double precision holds."
        return "for the loss is not convex in the model's outputs."

    @cached_property
    def _preconditioner(self) -> Preconditioner | None:
        return preconditioner(self.objective, self.objective.ridge.double() + self.damping, self.memory)

    def _near_inverse(self, count: int) -> Preconditioner | None:
        """The preconditioner, if it pays for `count` queries."""
        if self.squared or count * MIN_ROWS_PER_QUERY > MAX_ROWS:
            return None
        found = self._preconditioner
        return found if found and count * MIN_ROWS_PER_QUERY <= found.rows else None

    def sides(self, queries: Tensor) -> Tensor:
        return self._product(queries.double()) if self.squared else queries.double()

    def _operator(self, vectors: Tensor) -> Tensor:
        return self._system(self._product, vectors)

    def precise_operator(self, vectors: Tensor) -> Tensor:
        return self._system(lambda rows: self.precise_product(rows) + self.objective.ridge.double() * rows, vectors)

    def _residual_operator(self, vectors: Tensor) -> Tensor:
        """As `_operator`, with products in double precision if the rows are stored."""
        return self._operator(vectors) if self.rows is None else self.precise_operator(vectors)

    def _system(self, product: Callable[[Tensor], Tensor], vectors: Tensor) -> Tensor:
        """The system's product, of the curvature's with l2 and proximity."""
        if self.squared:
            return product(product(vectors)) + self.damping**2 * vectors
        return product(vectors) + self.damping * vectors

    def _product(self, vectors: Tensor) -> Tensor:
        return self._data_product(vectors) + self.objective.ridge * vectors

    @property
    def floor(self) -> float:
        if self.squared:
            return 0.0  # the bound is one of the plain system
        return float(self.report.get("smallest_eigenvalue", self.objective.ridge.min())) + self.damping

    @cached_property
    def largest(self) -> float:
        generator = torch.Generator().manual_seed(0)
        row = torch.randn(1, self.objective.trained.size, generator=generator, dtype=torch.float64)
        row = row.to(self.objective.device)
        for _ in range(POWER_STEPS):
            row = self._product(row / row.norm().clamp(min=1e-300))
        return float(row.norm())

    def _extreme_eigenvalues(self) -> tuple[float, float]:
        """Smallest and largest eigenvalue of the objective's Hessian, by Lanczos to about a percent of the largest."""
        size = self.objective.trained.size

        def product(vector: np.ndarray) -> np.ndarray:
            row = torch.from_numpy(np.ascontiguousarray(vector.reshape(1, -1))).to(self.objective.device)
            return self._product(row)[0].cpu().numpy()

        if size < 20:
            basis = torch.eye(size, dtype=torch.float64, device=self.objective.device)
            found = torch.linalg.eigvalsh(self._product(basis))
            return float(found[0]), float(found[-1])
        start = np.random.default_rng(0).normal(size=size)
        operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
        try:
            ends = eigsh(operator, k=2, which="BE", v0=start, tol=1e-2, return_eigenvectors=False)
        except ArpackNoConvergence as error:
            raise CurvatureError(
                f"Stage {self.objective.stage.name!r}: the Hessian's smallest eigenvalue could not be "
                f"found ({error}). Use curvature='ggn'."
            ) from error
        return float(min(ends)), float(max(ends))
