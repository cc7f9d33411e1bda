"""The inverse itself, by a dense decomposition: for small models or few examples."""

from __future__ import annotations

import torch
from torch import Tensor

from influence.curvature.cards import EXACT, MAX_DENSE_SIZE
from influence.curvature.method import UNKNOWN_ERROR, Method
from influence.derivatives import Objective
from influence.derivatives.precision import resolving
from influence.derivatives.second.gauss_newton import ggn
from influence.derivatives.second.hessian import hessian
from influence.derivatives.second.rows import batch_rows
from influence.errors import CurvatureError

MAX_GRAM_BYTES = 2**31
"""Bytes that the rows of the Gauss-Newton matrix may take when there are fewer of them than parameters."""

SUM_ROUNDING = 1e-12
"""Share of the largest eigenvalue below which a negative one is rounding of sums in float64."""


class Exact(Method):
    """Forms the curvature of the whole data set and decomposes it in float64.

    Where the Gauss-Newton matrix B'B / m has fewer rows (examples times outputs) than the stage has trained
    parameters, the matrix of the rows, B D^-1 B', is decomposed instead (Woodbury; D is ridge plus damping), so that
    a model of any size is solved exactly if its examples are few.
    """

    card = EXACT

    def fit(self) -> None:
        size = self.objective.trained.size
        self.report["parameters"] = size
        if self.curvature == "ggn" and self._fit_rows():
            return
        if size > MAX_DENSE_SIZE:
            raise CurvatureError(
                f"Stage {self.objective.stage.name!r} trains {size} parameters; method 'exact' goes up to "
                f"{MAX_DENSE_SIZE}, or for the Gauss-Newton matrix to so many examples times outputs. Use "
                "method='cg' or 'ekfac'."
            )
        eigenvalues, self.vectors = self._decomposed(self.objective)
        smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
        # A Gauss-Newton matrix of rows is a sum of squares, summed in float64; one of products may round below 0.
        if self.curvature == "hessian" or smallest < -SUM_ROUNDING * largest:
            sharper = resolving(self.objective, largest, smallest + self.damping)
            if sharper is not self.objective:
                eigenvalues, self.vectors = self._decomposed(sharper)
                smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
        if self.curvature == "ggn":
            # Positive semi-definite for a loss that is convex in the outputs: then what is below zero is rounding.
            rounding = 10 * torch.finfo(self.objective.dtype).eps * largest
            if -rounding < smallest < 0:
                eigenvalues = eigenvalues.clamp(min=0)
                smallest = 0.0
        self.report |= {"smallest_eigenvalue": smallest, "largest_eigenvalue": largest}
        self.refuse_negative(smallest, largest)
        self.inverse = 1 / (eigenvalues + self.damping)

    def _decomposed(self, objective: Objective) -> tuple[Tensor, Tensor]:
        """Eigenvalues, ascending, and eigenvectors of the curvature with ridge."""
        matrix = ggn(objective) if self.curvature == "ggn" else hessian(objective)
        matrix.diagonal().add_(objective.ridge)
        eigenvalues, vectors = torch.linalg.eigh(matrix)
        return eigenvalues, vectors

    def _fit_rows(self) -> bool:
        """Decompose the rows' matrix; False where there are not fewer rows than parameters, or none to be had."""
        size, found = self.objective.trained.size, []
        limit = min(size, MAX_DENSE_SIZE + 1)
        for block in batch_rows(self.objective, MAX_GRAM_BYTES):
            if block is None:
                return False
            found.append(block.dense(size).double() if size * len(block.formed) * 8 <= MAX_GRAM_BYTES else None)
            count = sum(len(rows) for rows in found if rows is not None)
            if found[-1] is None or count >= limit or count * size * 8 > MAX_GRAM_BYTES:
                return False
        self.diagonal = self.objective.ridge.double() + self.damping
        self.refuse_negative(float(self.diagonal.min()) - self.damping)
        self.rows = torch.cat([rows for rows in found if rows is not None]) / self.objective.count**0.5
        kernel = (self.rows / self.diagonal) @ self.rows.T
        kernel.diagonal().add_(1)
        self.factor = torch.linalg.cholesky(kernel)
        self.report |= {"rows": len(self.rows), "smallest_eigenvalue": float(self.diagonal.min()) - self.damping}
        return True

    def solve(self, queries: Tensor) -> Tensor:
        if "rows" in self.report:
            scaled = queries.double() / self.diagonal
            inner = torch.cholesky_solve(self.rows @ scaled.T, self.factor)
            return (scaled - (self.rows.T @ inner).T / self.diagonal).to(queries.dtype)
        rotated = (queries.double() @ self.vectors) * self.inverse
        return (rotated @ self.vectors.T).to(queries.dtype)

    def measure_error(self, queries: Tensor, solved: Tensor) -> None:
        """Report the error that rounding of gradients in single precision leaves, where it may matter."""
        super().measure_error(queries, solved)
        sides, solution = queries.double(), solved.double()
        rounding = self.rounding(sides)
        if not rounding.any():
            return
        error, sizes = self.solve(rounding), self.score_sizes(sides, solution)
        found = (self.score_sizes(rounding, error) / sizes).nan_to_num(0.0, torch.inf)
        self.report["score_error"] = found.clamp(max=UNKNOWN_ERROR).tolist()
        self.report["remedy"] = "raise l2 or `damping`, or use model.double() and data in double precision"
