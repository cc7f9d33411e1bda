"""LiSSA, a stochastic Neumann series on minibatches: for data too large for whole passes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from influence.curvature.cards import LISSA
from influence.curvature.iterative import Iterative
from influence.curvature.linear_algebra.lanczos import lanczos
from influence.derivatives import Objective
from influence.derivatives.objective import restricted
from influence.derivatives.precision import resolving
from influence.derivatives.second.products import ggn_product, hessian_product
from influence.errors import CurvatureError, MethodError

MAX_DEPTH = 2000
"""Largest number of steps that depth=None picks."""
PROBED_BATCHES = 8
"""Minibatches whose largest eigenvalue is estimated, to pick the scale."""
LANCZOS_STEPS = 50
"""Products that the smallest eigenvalue of a Hessian is found by."""


class Lissa(Iterative):
    """Neumann series with a fresh minibatch's curvature each step (Agarwal et al. 2017; Koh & Liang 2017).

        v <- v + (q - (C_B + ridge + damping I) v) / scale

    All queries use the same minibatches B, which depend on the seed only: scores are linear in the query and the same
    in every run. The result is the mean of the second half of the steps, where the papers take the last one. This costs
    nothing and averages the noise of the minibatches. On a network of 438 parameters (700 digits, l2 0.03, the default
    options) the relative error of the scores against `exact` is 0.017, compared to 0.21 for the last step, and 0.09 for
    the mean of four last steps at four times the cost; with l2 0.003 it is 0.06, and 0.16 for the last step.

    The series does not stop at a tolerance. The report's residuals |q - A v| / |q| are measured on all data, and its
    `score_error` estimates the error of each query's scores: directions that are much flatter than the steepest one,
    as on raw scales, are not reached by any affordable number of steps.

    Args:
        depth: number of steps. By default the error along the direction of smallest known curvature (l2 and damping;
            for "hessian" the smallest eigenvalue) falls to 1/100, with at most 2000 steps.
        repeats: independent series whose mean is returned.
        batch: examples of a minibatch.
        scale: divisor of the curvature, which must be more than half of every minibatch's largest eigenvalue. Default
            1.2 times the largest of 8 minibatches, by power iteration, plus ridge and damping.
        seed: of the minibatches.

    Raises:
        CurvatureError: there is no lower bound on the curvature, it has a negative eigenvalue, or the series diverges.
    """

    card = LISSA

    def __init__(
        self,
        objective: Objective,
        *,
        damping: float | None = None,
        curvature: str = "ggn",
        depth: int | None = None,
        repeats: int = 1,
        batch: int = 32,
        scale: float | None = None,
        seed: int = 0,
    ):
        for option, value in (("depth", depth), ("repeats", repeats), ("batch", batch)):
            if value is not None and value < 1:
                raise MethodError(f"{option} is {value!r}, expected at least 1.")
        if scale is not None and not 0 < scale < math.inf:
            raise MethodError(f"scale is {scale!r}, expected a positive number, or None to have one picked.")
        self.depth, self.repeats, self.batch, self.scale = depth, repeats, min(batch, len(objective.stage.data)), scale
        self.seed = seed
        super().__init__(objective, damping=damping, curvature=curvature)

    def fit(self) -> None:
        self._diagonal = self.objective.ridge.double() + self.damping
        # Of an objective with examples left out, the denominator is larger than the data (`attribution/groups.py`).
        self._share = len(self.objective.stage.data) / self.objective.count
        self.working = self.objective
        self._largest = self._largest_eigenvalue() + float(self._diagonal.max())
        self._floor = self._smallest_eigenvalue(self._largest)
        if self.scale is None:
            self.scale = 1.2 * self._largest
        wanted = math.ceil(math.log(100) * self.scale / self._floor)
        if self.depth is None:
            self.depth = min(wanted, MAX_DEPTH)
        self.report |= {
            "tolerance": 0.02,
            "remedy": "raise `depth`, `repeats`, `batch` or `damping`",
            "residuals": [],
            "largest_eigenvalue": self._largest,
            "scale": self.scale,
            "depth": self.depth,
            "depth_wanted": wanted,
            "repeats": self.repeats,
            "batch": self.batch,
        }

    @property
    def floor(self) -> float:
        return self._floor

    @property
    def largest(self) -> float:
        return self._largest

    def solve(self, queries: Tensor) -> Tensor:
        sides = queries.double()
        many = len(sides) > sides.shape[1]
        # The series is one fixed matrix: with more queries than dimensions, compute this matrix once.
        start = torch.eye(sides.shape[1], dtype=torch.float64, device=sides.device) if many else sides
        total = torch.zeros_like(start)
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.repeats):
            total += self._series(start, self._minibatches(generator))
        solution = total / self.repeats
        if many:
            solution = sides @ solution
        rest = sides - self._product(self.working, solution) - self._diagonal * solution
        sizes = sides.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
        self.report["residuals"] = (rest.norm(dim=1) / sizes).tolist()
        return solution.to(queries.dtype)

    def _series(self, sides: Tensor, minibatches: Iterator[Objective]) -> Tensor:
        assert self.depth is not None
        assert self.scale is not None
        value = sides / self.scale
        mean = torch.zeros_like(sides)
        # An upper bound of every solution's norm; the factor 100 leaves room for the minibatches' noise.
        limit = 100 * sides.norm(dim=1) / self._floor
        for step in range(self.depth):
            image = self._share * self._product(next(minibatches), value) + self._diagonal * value
            value = value + (sides - image) / self.scale
            if not (value.norm(dim=1) <= limit).all():
                raise CurvatureError(
                    f"Stage {self.objective.stage.name!r}: the series of 'lissa' diverged at step {step + 1} with "
                    f"scale {self.scale:.3g}. Set scale={2 * self.scale:.2g} or more (and a deeper `depth`), a larger "
                    f"`batch` than {self.batch}, or a larger damping than {self.damping:.3g}."
                )
            if step >= self.depth // 2:
                mean += value
        return mean / (self.depth - self.depth // 2)

    def _minibatches(self, generator: torch.Generator) -> Iterator[Objective]:
        """Minibatches without end: each pass is shuffled anew, and drops the examples that fill no minibatch."""
        while True:
            order = torch.randperm(len(self.objective.stage.data), generator=generator).tolist()
            for start in range(0, len(order) - self.batch + 1, self.batch):
                yield restricted(self.working, order[start : start + self.batch])

    def _product(self, objective: Objective, vectors: Tensor) -> Tensor:
        product = ggn_product if self.curvature == "ggn" else hessian_product
        return product(objective, vectors)

    def _largest_eigenvalue(self, iterations: int = 10) -> float:
        """Largest eigenvalue of the data's curvature on `PROBED_BATCHES` single minibatches, by power iteration."""
        generator = torch.Generator().manual_seed(self.seed)
        minibatches, largest = self._minibatches(generator), 0.0
        start = torch.randn(1, len(self._diagonal), generator=generator, dtype=torch.float64).to(self._diagonal.device)
        for _ in range(PROBED_BATCHES if self.batch < len(self.objective.stage.data) else 1):
            minibatch, row = next(minibatches), start
            for _ in range(iterations):
                row = self._share * self._product(minibatch, row / row.norm().clamp(min=1e-300))
            largest = max(largest, float(row.norm()))
        return largest

    def _smallest_eigenvalue(self, largest: float) -> float:
        """Lower bound of the damped curvature's eigenvalues; for the Hessian an estimate on all data.

        Raises:
            CurvatureError: it is not positive.
        """
        smallest = float(self._diagonal.min()) - self.damping
        if self.curvature == "hessian":
            smallest = self._smallest_of_hessian()
            self.working = resolving(self.objective, largest, smallest + self.damping)
            if self.working is not self.objective:
                smallest = self._smallest_of_hessian()
        self.refuse_negative(smallest, largest)
        return smallest + self.damping

    def _smallest_of_hessian(self) -> float:
        ridge = self.objective.ridge.double()
        values, _ = lanczos(
            lambda rows: self._product(self.working, rows) + ridge * rows,
            len(ridge),
            LANCZOS_STEPS,
            torch.Generator().manual_seed(self.seed),
            device=ridge.device,
        )
        return float(values.min())
