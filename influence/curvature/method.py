"""The protocol of the methods: fit the curvature of one stage, then solve for many right-hand sides."""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from influence.curvature.cards import MethodCard
from influence.derivatives import Objective
from influence.derivatives.first.factors import Factors
from influence.derivatives.first.gradients import formed
from influence.derivatives.objective import BUDGET
from influence.derivatives.second.fisher import Fisher
from influence.derivatives.second.linear import warn_if_linear
from influence.errors import CurvatureError, MethodError

CURVATURES = ("ggn", "hessian")
AUTOMATIC_DAMPING = 1e-2
"""Share of the stage's smallest l2, or else of the mean eigenvalue, that damping=None adds where l2 is lacking."""
PER_QUERY = ("residuals", "iterations", "score_error")
"""Keys of a method's report that have a value for each query."""
ROUNDINGS = 6
"""Machine epsilons by which a gradient's entries are off, as measured where a layer normalises vectors near zero."""
UNKNOWN_ERROR = 1e3
"""Largest estimate of an error: it is at least so many times the scores' size, or not known."""
EXAMPLES_AT_ONCE = 32
"""Examples whose gradients are multiplied out at once: more do not fit a CPU's cache."""


class Method(ABC):
    """Inverse-curvature products of one stage: v = (C_TT + ridge + damping I)^-1 q.

    C is the curvature (Gauss-Newton matrix or Hessian) of the stage's mean loss over its trained parameters T; `ridge`
    is the diagonal of the second derivatives of its l2 and proximity terms.

    Args:
        objective: the stage's.
        damping: in the units of the objective's Hessian; None picks 0 where the stage has an l2 term of all trained
            parameters, `AUTOMATIC_DAMPING` times the smallest where some have one, else `AUTOMATIC_DAMPING` times the
            mean eigenvalue of the Gauss-Newton matrix.
        curvature: "ggn" (generalised Gauss-Newton) or "hessian".
    """

    card: ClassVar[MethodCard]

    def __init__(self, objective: Objective, *, damping: float | None = None, curvature: str = "ggn"):
        if curvature not in CURVATURES:
            raise MethodError(f"There is no curvature {curvature!r}; choose one of {', '.join(CURVATURES)}.")
        if damping is not None and not (isinstance(damping, numbers.Real) and 0 <= damping < float("inf")):
            raise MethodError(f"Damping is {damping!r}, expected a finite number that is not negative, or None.")
        self.objective, self.curvature = objective, curvature
        self.damping = pick_damping(objective) if damping is None else float(damping)
        self.report: dict[str, Any] = {"stage": objective.stage.name, "curvature": curvature, "damping": self.damping}
        self.fit()
        if self.report["curvature"] == "ggn":
            warn_if_linear(objective)

    @abstractmethod
    def fit(self) -> None:
        """Compute everything that does not depend on a query. Called by the constructor."""

    def state(self) -> dict[str, Tensor]:
        """The result of `fit` as tensors, to be saved and passed to a later instance; empty if `fit` is fast."""
        return {}

    @abstractmethod
    def solve(self, queries: Tensor) -> Tensor:
        """Solve for all queries together, (Q, T) -> (Q, T)."""

    def measure_error(self, queries: Tensor, solved: Tensor) -> None:
        """Put an estimate of the error of the scores by `solved`, of `queries`, into the report, where there is one.

        See `Iterative`. Approximations have none: their solves are what they are.
        """
        self.report.pop("score_error", None)

    def score_sizes(self, sides: Tensor, solution: Tensor) -> Tensor:
        """Root mean square of v . g over gradients g that are distributed like the curvature C, (v . C v)^(1/2).

        v is `solution`, of the right-hand sides (C + ridge + damping I) v, both (Q, T) in float64.
        """
        shift = self.objective.ridge.double() + self.damping
        return (solution * (sides - shift * solution)).sum(1).clamp(min=0).sqrt()

    def rounding(self, sides: Tensor) -> Tensor:
        """Random errors as rounding leaves them in gradients, of queries and of training examples together: (Q, T).

        In directions of small curvature they are multiplied by its inverse. None are told of half precision, all of
        whose numbers are as rough.
        """
        double, single = torch.finfo(torch.float64).eps, torch.finfo(torch.float32).eps
        if not double < self.objective.epsilon <= single:
            return torch.zeros_like(sides)
        drawn = torch.randn(sides.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return ROUNDINGS * self.objective.epsilon * sides * drawn.to(sides.device)

    def norms(self, queries: Tensor) -> Tensor:
        """Quadratic form q . (C_TT + ridge + damping I)^-1 q of every row q of (Q, T): (Q,)."""
        return (self.solve(queries) * queries).sum(1)

    def norms_of(self, factors: Factors, count: int) -> tuple[Tensor, Tensor]:
        """Quadratic form q . (C_TT + ridge + damping I)^-1 q, and |q|, of `count` examples' gradients q: (n,) each."""
        norms, lengths = [], []
        for start in range(0, count, EXAMPLES_AT_ONCE):
            part = slice(start, min(start + EXAMPLES_AT_ONCE, count))
            rows = formed(self.objective, self.objective.trained, factors, part)
            norms.append(self.norms(rows))
            lengths.append(rows.norm(dim=1))
        return torch.cat(norms), torch.cat(lengths)

    def refuse_negative(self, smallest: float, largest: float = 0.0) -> None:
        """Raise CurvatureError unless the smallest eigenvalue plus damping is positive, beyond rounding."""
        rounding = torch.finfo(torch.float64).eps * self.objective.trained.size * largest
        if smallest + self.damping > rounding:
            return
        stage = self.objective.stage.name
        if smallest + self.damping > 0:
            raise CurvatureError(
                f"Stage {stage!r}: the {self.curvature} has eigenvalues from {smallest:.2g} to {largest:.2g}, further "
                "apart than double precision tells, as features on raw scales make them. Scale the model's inputs to a "
                f"spread of about 1 before training, use method='cg', or damping={2 * rounding:.2g} or more."
            )
        need = max(-1.1 * smallest, 1e-6 * largest, 1e-6)
        if self.curvature == "hessian":
            advice = ", or curvature='ggn'"
        else:
            advice = "" if smallest >= 0 else " (the loss is not convex in the model's outputs)"
        raise CurvatureError(
            f"Stage {stage!r}: the {self.curvature} has the eigenvalue {smallest:.3g}, so with "
            f"damping {self.damping:.3g} its inverse is not defined. Use damping={need:.2g} or more{advice}."
        )


def pick_damping(objective: Objective) -> float:
    """0 if all parameters have an l2 term, which makes the curvature invertible; else see `AUTOMATIC_DAMPING`."""
    decayed = objective.l2 > 0
    if decayed.all():
        return 0.0
    if decayed.any():
        return AUTOMATIC_DAMPING * float(objective.l2[decayed].min())
    fisher = Fisher(objective)
    mean = mean_curvature(objective, fisher)
    if mean <= 0:
        why = "not convex in the model's outputs" if fisher.negative else "linear in the model's outputs, or at rest"
        raise CurvatureError(
            f"Stage {objective.stage.name!r}: the mean curvature is {mean:.3g} (the loss is {why}), so no damping can "
            "be picked. Pass `damping`."
        )
    return AUTOMATIC_DAMPING * mean


def mean_curvature(objective: Objective, fisher: Fisher, examples: int = 512) -> float:
    """Mean eigenvalue of the Gauss-Newton matrix, estimated by the mean square of `fisher`'s random gradients."""
    some = torch.randperm(objective.count, generator=torch.Generator().manual_seed(0))[:examples].tolist()
    total = 0.0
    for count, factors in fisher.factors(torch.utils.data.Subset(objective.stage.data, some)):
        for several in factors.values():
            rows = max(1, BUDGET // (objective.sum_dtype.itemsize * several[0].shape[1]))
            for start in range(0, count, rows):
                formed = [factor[start : start + rows].gradients() for factor in several]
                total += float(torch.stack(formed).sum(0).square().sum())
    return total / (len(some) * objective.trained.size)
