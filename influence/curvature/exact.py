"""The dense curvature matrix, decomposed once: for small models."""

from __future__ import annotations

import torch
from torch import Tensor

from influence.curvature.method import Method
from influence.derivatives.second import ggn, hessian
from influence.errors import CurvatureError

LARGEST = 8000
"""Trained parameters up to which a dense decomposition is sensible (0.5 GB, minutes)."""


class Exact(Method):
    """Forms the curvature of the whole data set and decomposes it in float64."""

    name = "exact"
    summary = "dense curvature matrix, decomposed once"
    cost = f"P products or P^2 memory, P^3 time; up to {LARGEST} trained parameters a stage"
    advice = "for small models and as the reference for everything else"

    def fit(self) -> None:
        size = self.objective.trained.size
        if size > LARGEST:
            raise CurvatureError(
                f"Stage {self.objective.stage.name!r} trains {size} parameters; method 'exact' goes up "
                f"to {LARGEST}. Use method='cg'."
            )
        matrix = ggn(self.objective) if self.curvature == "ggn" else hessian(self.objective)
        matrix.diagonal().add_(self.objective.ridge)
        eigenvalues, self.vectors = torch.linalg.eigh(matrix)
        smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
        if self.curvature == "ggn":
            # Positive semi-definite for a loss that is convex in the outputs: then what is below zero is rounding.
            rounding = 10 * torch.finfo(self.objective.dtype).eps * largest
            if -rounding < smallest < 0:
                eigenvalues = eigenvalues.clamp(min=0)
                smallest = 0.0
        self.report |= {"parameters": size, "smallest_eigenvalue": smallest, "largest_eigenvalue": largest}
        self.refuse_negative(smallest, largest)
        self.inverse = 1 / (eigenvalues + self.damping)

    def solve(self, queries: Tensor) -> Tensor:
        rotated = (queries.double() @ self.vectors) * self.inverse
        return (rotated @ self.vectors.T).to(queries.dtype)
