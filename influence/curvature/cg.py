"""Conjugate gradients on curvature products: for models whose curvature matrix does not fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from influence.curvature.method import Method
from influence.derivatives import Objective
from influence.derivatives.second import ggn_product, hessian_product
from influence.errors import CurvatureError, MethodError


class ConjugateGradients(Method):
    """Solves all queries together, one curvature product an iteration for those that are not converged.

    Args:
        tolerance: stop a query when its residual |q - A v| is this share of |q|.
        iterations: stop after so many; queries that are not converged are named in the report.
        squared: solve (A^2 + damping^2 I) v = A q, the paper's form for indefinite Hessians (Chen et al. 2020,
            eq. 16, with lambda = damping^2 so that damping keeps its unit). Two products an iteration.
    """

    name = "cg"
    summary = "conjugate gradients on Gauss-Newton or Hessian products, all queries together"
    cost = "one pass over the stage's data an iteration and query; memory of a few vectors a query"
    advice = "for models too large for 'exact' and some tens of queries"

    def __init__(
        self,
        objective: Objective,
        *,
        damping: float | None = None,
        curvature: str = "ggn",
        tolerance: float = 1e-6,
        iterations: int = 1000,
        squared: bool = False,
    ):
        if not 0 < tolerance < 1:
            raise MethodError(f"tolerance is {tolerance!r}, expected a share between 0 and 1.")
        if iterations < 1:
            raise MethodError(f"iterations is {iterations!r}, expected at least 1.")
        self.tolerance, self.iterations, self.squared = tolerance, iterations, squared
        super().__init__(objective, damping=damping, curvature=curvature)

    def fit(self) -> None:
        self.report |= {"tolerance": self.tolerance, "squared": self.squared, "residuals": [], "iterations": []}
        if self.curvature == "hessian" and not self.squared:
            smallest = self._smallest_eigenvalue()
            self.report["smallest_eigenvalue"] = smallest
            self.refuse_negative(smallest)

    def solve(self, queries: Tensor) -> Tensor:
        # Iterates in float64: the products may be float32, but rounding must not add up over iterations.
        sides = queries.double()
        if self.squared:
            sides = self._product(sides)
        try:
            solution, residuals, iterations = conjugate_gradients(
                self._operator, sides, self.tolerance, self.iterations
            )
        except FloatingPointError as error:
            raise CurvatureError(
                f"Stage {self.objective.stage.name!r}: {error} Use a larger damping, or curvature='ggn'."
            ) from error
        self.report["residuals"] = residuals.tolist()
        self.report["iterations"] = iterations.tolist()
        return solution.to(queries.dtype)

    def _operator(self, vectors: Tensor) -> Tensor:
        if self.squared:
            return self._product(self._product(vectors)) + self.damping**2 * vectors
        return self._product(vectors) + self.damping * vectors

    def _product(self, vectors: Tensor) -> Tensor:
        product = ggn_product if self.curvature == "ggn" else hessian_product
        return product(self.objective, vectors) + self.objective.ridge * vectors

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


def conjugate_gradients(
    operator: Callable[[Tensor], Tensor], sides: Tensor, tolerance: float, iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve A x = b for every row b of `sides` (Q, P), A symmetric positive definite; finished rows cost nothing.

    Returns:
        solutions (Q, P); the true relative residuals |b - A x| / |b| (Q,); iterations of each row (Q,).

    Raises:
        FloatingPointError: a direction without positive curvature was met.
    """
    solution = torch.zeros_like(sides)
    counts = torch.zeros(len(sides), dtype=torch.long)
    norms = sides.norm(dim=1)
    active = (norms > 0).nonzero().flatten()
    residual = sides[active]
    direction, energy = residual.clone(), residual.square().sum(1)
    for _ in range(iterations):
        if not len(active):
            break
        image = operator(direction)
        curvature = (direction * image).sum(1)
        if (curvature <= 0).any():
            worst = float((curvature / direction.square().sum(1)).min())
            raise FloatingPointError(f"conjugate gradients met a direction of curvature {worst:.3g}.")
        step = (energy / curvature)[:, None]
        solution[active] += step * direction
        residual = residual - step * image
        fresh = residual.square().sum(1)
        direction = residual + (fresh / energy)[:, None] * direction
        counts[active.cpu()] += 1
        going = fresh.sqrt() > tolerance * norms[active]
        active, residual, direction, energy = active[going], residual[going], direction[going], fresh[going]
    safe = norms.clamp(min=torch.finfo(norms.dtype).tiny)
    return solution, (sides - operator(solution)).norm(dim=1) / safe, counts
