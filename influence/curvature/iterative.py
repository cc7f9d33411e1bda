"""Methods that stop before their solutions are exact, and the error of the scores that they leave.

A residual r = q - A v, with A the damped curvature, says little of it: in directions of small curvature, a small
residual stands for a large error. With e = A^-1 r the error of the solution v, the scores v . g of training gradients
g are off by e . g. First a bound is tried that costs nothing: with a the smallest eigenvalue of A, the root mean
square of e . g is at most |r| / (2 sqrt(a)), where gradients are distributed like the curvature. Where it is not small
enough, e is solved for, and multiplied with gradients of training examples. The rounding of q counts as a residual.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property, partial

import torch
from torch import Tensor

from influence.curvature.linear_algebra.block_cg import conjugate_gradients
from influence.curvature.method import UNKNOWN_ERROR, Method
from influence.derivatives import Objective
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.objective import restricted
from influence.derivatives.precision import in_double
from influence.derivatives.second.gauss_newton import GaussNewton
from influence.derivatives.second.products import hessian_product

SMALL_ERROR = 5e-3
"""Bound of the scores' relative error below which it is reported, and nothing is solved for."""
MAX_DENSE_STAGE = 512
"""A stage of at most this many trained parameters is solved directly for the errors of all queries."""
PROBED_QUERIES = 4
"""Queries of larger stages whose errors are solved for: those of the largest bounds. They scale the others' bounds."""
PROBED_EXAMPLES = 128
"""Training examples whose scores the errors are measured on."""
PROBE_ITERATIONS = 300
"""Iterations of these solves at most."""
PROBE_BYTES = 2**30
"""Bytes that the rows of the Gauss-Newton matrix may take for them."""


class Iterative(Method):
    """A method whose report has for every query, besides `residuals`, the estimate `score_error`.

    Attributes:
        rows: the Gauss-Newton matrix with stored rows, whose products are taken in double precision; None without.
        working: the objective that other products are passes over; in double precision where the model's is too low.
    """

    rows: GaussNewton | None = None
    working: Objective

    @property
    @abstractmethod
    def floor(self) -> float:
        """Lower bound of the eigenvalues of the damped curvature; 0 where none is known."""

    @property
    @abstractmethod
    def largest(self) -> float:
        """Largest eigenvalue of the curvature, to a few tens of percent."""

    @property
    def epsilon(self) -> float:
        """Machine epsilon of the products that solves and their residuals are made of."""
        return torch.finfo(torch.float64 if self.rows else self.working.dtype).eps

    @cached_property
    def precise_product(self) -> Callable[[Tensor], Tensor]:
        """Products with the curvature of all data, (Q, T) -> (Q, T), in double precision."""
        if self.rows is not None:
            return partial(self.rows.product, dtype=torch.float64)
        objective = in_double(self.working)
        if self.curvature == "ggn":
            return GaussNewton(objective, PROBE_BYTES).product
        return partial(hessian_product, objective)

    def precise_operator(self, vectors: Tensor) -> Tensor:
        """A V, (Q, T) -> (Q, T) in float64."""
        return self.precise_product(vectors) + (self.objective.ridge.double() + self.damping) * vectors

    def sides(self, queries: Tensor) -> Tensor:
        """The right-hand sides of the system that is solved for `queries`, in float64: (Q, T)."""
        return queries.double()

    def measure_error(self, queries: Tensor, solved: Tensor) -> None:
        sides, solution = self.sides(queries), solved.double()
        bounds = self._bounds(sides, solution)
        loose = bounds > SMALL_ERROR
        if loose.any():
            every = self.objective.trained.size <= MAX_DENSE_STAGE
            probed = bounds.argsort(descending=True)[: int(loose.sum()) if every else PROBED_QUERIES]
            found = self._solved_error(sides[probed], solution[probed])
            share = (found / bounds[probed]).nan_to_num(1.0).max().clamp(max=1.0)
            bounds = torch.where(loose, share * bounds, bounds)
            bounds[probed] = found
        self.report["score_error"] = bounds.nan_to_num(torch.inf).clamp(max=UNKNOWN_ERROR).tolist()

    def _bounds(self, sides: Tensor, solution: Tensor) -> Tensor:
        """Upper bound of every query's relative error of scores, (Q,); infinite where there is none."""
        rest = torch.tensor(self.report["residuals"], dtype=torch.float64).to(sides.device) * sides.norm(dim=1)
        rest = rest + self.rounding(sides).norm(dim=1)
        if self.epsilon > torch.finfo(torch.float64).eps:
            rest = rest + self.epsilon * self.largest * solution.norm(dim=1)
        bound = rest / (2 * max(self.floor, 0.0) ** 0.5 * self.score_sizes(sides, solution))
        return torch.where(sides.any(1), bound.nan_to_num(torch.inf, torch.inf), 0.0)

    def _solved_error(self, sides: Tensor, solution: Tensor) -> Tensor:
        """Relative error of the scores of some training examples, (Q,), by solving for the error of the solution."""
        rest = sides - self.precise_operator(solution) + self.rounding(sides)
        error, left = self._correction(
            rest, SMALL_ERROR * 2 * max(self.floor, 0.0) ** 0.5 * self.score_sizes(sides, solution)
        )
        off, true = torch.zeros(2, len(sides), dtype=torch.float64, device=sides.device)
        drawn = torch.randperm(len(self.objective.stage.data), generator=torch.Generator().manual_seed(0))
        some = restricted(self.objective, drawn[:PROBED_EXAMPLES].tolist())
        for _, rows in example_gradients(some, some.stage.data, some.trained):
            off += (error @ rows.double().T).square().sum(1)
            true += ((solution + error) @ rows.double().T).square().sum(1)
        return torch.where(off == 0, 0.0, (off / true).sqrt().nan_to_num(torch.inf)) + left

    def _correction(self, rest: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
        """A^-1 `rest` (Q, T), to residuals below `limits`; and what it lacks, as a share of the scores."""
        if self.objective.trained.size <= MAX_DENSE_STAGE:
            found, _ = torch.linalg.solve_ex(self._matrix, rest.T)
            return found.T, torch.zeros_like(limits)
        limits = limits if self.floor > 0 else 1e-3 * rest.norm(dim=1)
        try:
            error, _ = conjugate_gradients(self.precise_operator, rest, limits, PROBE_ITERATIONS)
        except FloatingPointError:
            return torch.zeros_like(rest), torch.full_like(limits, torch.inf)
        left = (rest - self.precise_operator(error)).norm(dim=1)
        return error, (SMALL_ERROR * left / limits).nan_to_num(0.0, torch.inf)

    @cached_property
    def _matrix(self) -> Tensor:
        """A itself, (T, T)."""
        size = self.objective.trained.size
        return self.precise_operator(torch.eye(size, dtype=torch.float64, device=self.objective.device))
