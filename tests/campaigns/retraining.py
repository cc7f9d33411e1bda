"""Stages that are really trained, by Newton's method in double precision, and trained again with other weights.

Nothing of the derivatives of `influence` is used: a score is what a central difference of whole retrainings says.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian

from influence import Stage, Study, attribute

STEP = 1e-3
"""Change of an example's weight, to both sides of 1."""


@dataclass
class Part:
    """One stage: `loss(outputs, targets)` -> one number an example."""

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    l2: float = 0.05
    frozen: Sequence[str] = ()
    proximity: float = 0.0
    inherits: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        self.model.double()

    def pairs(self, before: Mapping[str, Tensor]) -> dict[str, str]:
        """{name here: name before}."""
        if self.inherits is not None:
            return dict(self.inherits)
        named = dict(self.model.named_parameters())
        return {name: name for name in named if name in before and before[name].shape == named[name].shape}

    def stage(self, name: str, values: Mapping[str, Tensor]) -> Stage:
        model = copy.deepcopy(self.model)
        model.load_state_dict(dict(values), strict=False)
        return Stage(
            name,
            model,
            lambda outputs, batch: self.loss(outputs, batch[1]),
            torch.utils.data.TensorDataset(self.inputs, self.targets),
            l2=self.l2,
            frozen=self.frozen,
            proximity=self.proximity,
            inherits=self.inherits,
        )

    def minimum(self, before: Mapping[str, Tensor], weights: Tensor, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The values at the minimum next to `start`, given those of the stage before."""
        inherited = {here: before[there] for here, there in self.pairs(before).items()}
        fixed = {n: v for n, v in inherited.items() if any(fnmatch(n, pattern) for pattern in self.frozen)}
        names = [name for name in start if name not in fixed]
        sizes = [start[name].numel() for name in names]

        def values(vector: Tensor) -> dict[str, Tensor]:
            parts = zip(names, vector.split(sizes), strict=True)
            return fixed | {name: part.view_as(start[name]) for name, part in parts}

        def objective(vector: Tensor) -> Tensor:
            here = values(vector)
            losses = self.loss(functional_call(self.model, here, (self.inputs,)), self.targets)
            held = [(here[n] - v).square().sum() for n, v in inherited.items() if n not in fixed]
            return (weights * losses).mean() + self.l2 / 2 * vector.square().sum() + self.proximity * sum(held)

        return values(newton(objective, torch.cat([start[name].reshape(-1) for name in names])))


def newton(objective: Callable[[Tensor], Tensor], point: Tensor) -> Tensor:
    """Steps along the eigenvectors of the Hessian, shortened until the objective falls."""
    for _ in range(100):
        gradient = grad(objective)(point)
        if gradient.norm() < 1e-12:
            return point
        eigenvalues, vectors = torch.linalg.eigh(hessian(objective)(point))
        step, length, here = vectors @ (vectors.T @ gradient / eigenvalues.abs().clamp(min=1e-3)), 1.0, objective(point)
        while objective(point - length * step) > here + 1e-15 and length > 1e-6:
            length /= 2
        point = point - length * step
    raise AssertionError(f"no minimum was found: gradient norm {float(gradient.norm()):.1g}")


@dataclass
class Retraining:
    """A row of the campaign: stages, queries of the last one, and whose examples are scored.

    Args:
        scored_stage: position of the stage whose examples are weighted.
        inputs, targets: of the queries.
    """

    parts: Sequence[Part]
    inputs: Tensor
    targets: Tensor
    scored_stage: int = 0
    tolerance: float = 1e-4
    methods: Sequence[str] = ("exact", "cg")

    def prepare(self) -> None:
        start = [dict(part.model.named_parameters()) for part in self.parts]
        self.minima = self._trained([{n: p.detach() for n, p in s.items()} for s in start], None)

    def scored(self, method: str) -> tuple[np.ndarray, dict[str, Any]]:
        stages = [p.stage(f"stage{i}", v) for i, (p, v) in enumerate(zip(self.parts, self.minima, strict=True))]
        study = Study("retraining", stages, torch.utils.data.TensorDataset(self.inputs, self.targets))
        scores = attribute(
            study,
            stage=stages[self.scored_stage].name,
            method=method,
            curvature="hessian",
            damping=0.0,
            progress=False,
            **({"tolerance": 1e-8} if method == "cg" else {}),
        )
        return scores.values, scores.report

    def wanted(self, method: str) -> np.ndarray:
        """(Q, m), whatever the method."""
        return self._differences

    def epochs(self) -> dict[str, float]:
        return {}

    @cached_property
    def _differences(self) -> np.ndarray:
        count = len(self.parts[self.scored_stage].inputs)
        return np.stack([(self._queries(i, -STEP) - self._queries(i, STEP)) / (2 * STEP) for i in range(count)], axis=1)

    def _queries(self, example: int, change: float) -> np.ndarray:
        """The queries' losses after all was trained again with another weight of one example."""
        weights = torch.ones(len(self.parts[self.scored_stage].inputs), dtype=torch.float64)
        weights[example] += change
        last = self.parts[-1]
        outputs = functional_call(last.model, self._trained(self.minima, weights)[-1], (self.inputs,))
        return last.loss(outputs, self.targets).detach().numpy()

    def _trained(self, starts: Sequence[Mapping[str, Tensor]], weights: Tensor | None) -> list[dict[str, Tensor]]:
        found: list[dict[str, Tensor]] = []
        for i, (part, start) in enumerate(zip(self.parts, starts, strict=True)):
            ones = torch.ones(len(part.inputs), dtype=torch.float64)
            here = weights if weights is not None and i == self.scored_stage else ones
            found.append(part.minimum(found[-1] if found else {}, here, start))
        return found
