"""No curvature at all: the paper's ablation."""

from __future__ import annotations

from torch import Tensor

from influence.curvature.cards import IDENTITY
from influence.curvature.method import Method
from influence.derivatives import Objective


class Identity(Method):
    """Every inverse Hessian replaced by the identity (Chen et al. 2020, Figure 3): a gradient dot product."""

    card = IDENTITY

    def __init__(self, objective: Objective, *, damping: float | None = None, curvature: str = "ggn"):
        super().__init__(objective, damping=0.0 if damping is None else damping, curvature=curvature)

    def fit(self) -> None:
        self.report = {"stage": self.objective.stage.name, "curvature": "identity", "damping": 0.0}

    def solve(self, queries: Tensor) -> Tensor:
        return queries
