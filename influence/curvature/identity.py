"""No curvature at all: the paper's ablation."""

from __future__ import annotations

from torch import Tensor

from influence.curvature.method import Method
from influence.derivatives import Objective


class Identity(Method):
    """Every inverse Hessian replaced by the identity (Chen et al. 2020, Figure 3): a gradient dot product."""

    name = "identity"
    summary = "gradient dot products: every inverse curvature replaced by the identity"
    cost = "one gradient per example; nothing to fit"
    advice = "as a baseline, to see what curvature adds; the scores' size has no unit"

    def __init__(self, objective: Objective, *, damping: float | None = None, curvature: str = "ggn"):
        super().__init__(objective, damping=0.0 if damping is None else damping, curvature=curvature)

    def fit(self) -> None:
        self.report = {"stage": self.objective.stage.name, "curvature": "identity", "damping": 0.0}

    def solve(self, queries: Tensor) -> Tensor:
        return queries
