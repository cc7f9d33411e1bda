"""The minimum of a stage's edited objective that is next to the stage's own, by Newton steps; through all stages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from influence.attribution.chain import Chain
from influence.attribution.edits.change import Change
from influence.curvature import Method
from influence.derivatives import Objective
from influence.derivatives.first.gradients import gradient
from influence.derivatives.second.products import hessian_product, weighted_hessian_product

ROUNDING_SHARE = 1e-10
"""Residual, relative to the first, below which a step that leaves much of it is rounding."""
LITTLE = 1e-6
"""By which a step that leaves no smaller residual lowers the objective at least, as a share of what all did."""
SLOW = 0.3
"""Share of the residual that a step with the method's curvature leaves at most: about half of the way."""
UNSETTLED = 1 / 16
"""What is left to do at the end of all steps at most, as a share of what they did."""
ITERATIONS = 10
"""Of conjugate gradients, a step."""
SOLVED = 0.01
"""Share of the residual at which conjugate gradients stop: a tenth of the step."""
SHORTER = 8
"""Times that a step is shortened."""


@dataclass(frozen=True, eq=False)
class Minima:
    """Every stage of a chain at the minimum of its edited objective, as far as the steps reach."""

    parameters: list[dict[str, Tensor]]
    """Of every stage, by name."""
    residuals: dict[str, list[float]]
    """Stage -> force . H^-1 force before each step and after the last."""
    warnings: list[str]
    settled: bool
    """Whether the steps of every stage end near the minimum."""


def minima_near(chain: Chain, changes: Mapping[Objective, Change], steps: int) -> Minima:
    """The minima that the stages' Newton steps lead to, each stage after the one before it.

    Args:
        chain: of the first edited stage.
        changes: of stages of the chain.
        steps: of every stage, beyond the first order.
    """
    found = Minima([], {}, [], True)
    for i, (objective, solver) in enumerate(zip(chain.objectives, chain.solvers, strict=True)):
        before = chain.objectives[i - 1].parameters if i else {}
        shift = {h: found.parameters[-1][t] - before[t] for h, t in objective.groups.inherited.items()} if i else {}
        edited = EditedObjective(objective, changes.get(objective), shift, solver.damping)
        path = _minimum_near(edited, solver, steps)
        found.parameters.append(edited.parameters(path.moved))
        found.residuals[objective.stage.name] = path.residuals
        found.warnings.extend(path.warnings(objective.stage.name))
        found = replace(found, settled=found.settled and path.left <= UNSETTLED)
    return found


class EditedObjective:
    """A stage's objective with the edits made, as a function of the change of its trained parameters (T,), float64.

    Args:
        objective: the stage's.
        change: its edits.
        shift: change of each inherited value. Frozen parameters change by it; held ones are pulled by proximity.
        damping: of the method; it holds the parameters near the stage's own.

    Attributes:
        start: no change, zeros (T,).
    """

    def __init__(self, objective: Objective, change: Change | None, shift: Mapping[str, Tensor], damping: float):
        self._objective, self._change = objective, change
        self._here = dict(objective.parameters)
        self._held = torch.zeros(objective.trained.size, dtype=torch.float64, device=objective.device)
        for name, by in shift.items():
            if name in objective.frozen.slices:
                self._here[name] = self._here[name] + by
            else:
                self._held[objective.trained.slices[name]] = 2 * objective.stage.proximity * by.flatten().double()
        self._balance = gradient(objective).double()  # what l2 and proximity balance at the minimum
        self._origin = objective.trained.flatten(objective.parameters).double()
        self._diagonal = objective.ridge.double() + damping
        self.start = torch.zeros_like(self._held)

    def parameters(self, moved: Tensor) -> dict[str, Tensor]:
        """All of the stage's, by name."""
        return self._here | self._objective.trained.unflatten(self._origin + moved)

    def force(self, moved: Tensor) -> Tensor:
        """Less the gradient; 0 at the minimum."""
        there = self._objective.at(self.parameters(moved))
        force = self._balance - gradient(there).double() + self._held - self._diagonal * moved
        return force - self._change.gradient(there) if self._change else force

    def product(self, moved: Tensor, vector: Tensor) -> Tensor:
        """The Hessian there, times a vector."""
        there = self._objective.at(self.parameters(moved))
        found = hessian_product(there, vector[None])[0].double() + self._diagonal * vector
        for examples, weights in self._change.parts if self._change else ():
            share = weighted_hessian_product(there, vector[None], examples, weights)[0].double()
            found += share / self._objective.count
        return found


class Path(NamedTuple):
    """Steps that were taken towards the minimum of a stage's edited objective."""

    moved: Tensor
    """Change of the parameters (T,)."""
    residuals: list[float]
    """force . H^-1 force before each step and after the last."""
    way: float
    """Sum of force . step."""
    steady: bool
    """Whether the first step, with the method's curvature, left little of the residual, and none was undone."""

    @property
    def left(self) -> float:
        """What is left of the way, as a share of what is behind; infinite where the last step left more than before.

        As if all further steps left the share of the residual that the last one left.
        """
        last = self.residuals[-1]
        share = last / self.residuals[-2] if len(self.residuals) > 1 else 0.0
        if share >= 1:
            return math.inf
        return last / (1 - share) / self.way if self.way else float(last > 0)

    def warnings(self, name: str) -> list[str]:
        """A warning where the steps of the stage of this name do not converge."""
        count = len(self.residuals) - 1
        if not self.left <= UNSETTLED:
            known = math.isfinite(self.left)
            left = f"is {self.left:.2g} times what they did" if known else "is not known, for each step leads further"
            return [
                f"Stage {name!r}: the steps beyond the first order do not converge; what is left after {count} "
                f"{left}. The edits are too strong for so few steps: take more, or train "
                "again with them (`influence.training.Retrainer`)."
            ]
        if not self.steady:
            return [
                f"Stage {name!r}: the steps beyond the first order do not converge with the curvature of the data as "
                f"they were; with that of the edited data they do, and what is left after {count} is {self.left:.1g} "
                "times what they did. The edits are strong: believe their first order little."
            ]
        return []


def _minimum_near(edited: EditedObjective, solver: Method, steps: int) -> Path:
    """Newton steps towards the minimum.

    They are taken with the method's curvature, that of the data as they were, while each leaves little of the residual
    force . H^-1 force. From where one leaves more, they are taken with that of the edited data; a step after which the
    residual is larger is undone before. Of the steps with the latter every one is taken that lowers the objective.
    """
    moved = edited.start
    force = edited.force(moved)
    step = _solved(solver, force)
    residuals, way, fixed, steady = [float(force @ step)], 0.0, True, True
    while len(residuals) <= 1 + steps and residuals[-1] > 0:
        by, ahead = (step, edited.force(moved + step)) if fixed else _newton_step(edited, solver, moved, force, step)
        following = _solved(solver, ahead)
        left, share = float(ahead @ following), residuals[-1] / residuals[0]
        falls = left < residuals[-1]
        if (not fixed and not math.isfinite(left)) or (not falls and share <= ROUNDING_SHARE):
            break
        if fixed and not falls:
            fixed = steady = False
            continue
        # Across a shelf, where the curvature is negative, the force grows while the objective falls.
        if not falls and float((force + ahead) @ by) <= LITTLE * way:
            break
        fixed = fixed and (left <= SLOW * residuals[-1] or share <= ROUNDING_SHARE)
        steady = steady and (fixed or len(residuals) > 1)
        way += float(force @ by)
        moved, force, step = moved + by, ahead, following
        residuals.append(left)
    return Path(moved, residuals, way, steady)


def _newton_step(
    edited: EditedObjective, solver: Method, moved: Tensor, force: Tensor, first: Tensor
) -> tuple[Tensor, Tensor]:
    """A step with the Hessian of the edited objective, and the force after it.

    Conjugate gradients with the method's inverse as preconditioner solve for it; it is shortened until the objective no
    longer rises steeply at its end.

    Args:
        edited: the objective.
        solver: the method.
        moved: where it stands.
        force: there.
        first: the force solved by the method.
    """
    step, rest, direction, solved = torch.zeros_like(force), force, first, first
    square = at_first = float(force @ first)
    for _ in range(ITERATIONS):
        curved = edited.product(moved, direction)
        curvature = float(direction @ curved)
        if not curvature > 0:
            step = step if step.any() else direction
            break
        step = step + square / curvature * direction
        before, rest = rest, rest - square / curvature * curved
        solved = _solved(solver, rest)
        # By Polak and Ribiere: also of a method whose solves differ a little from one to the next.
        following, turned = float(rest @ solved), float((rest - before) @ solved)
        if following <= SOLVED * at_first:
            break
        direction, square = solved + turned / square * direction, following
    slope = float(force @ step)
    for _ in range(SHORTER):
        ahead = edited.force(moved + step)
        end = float(ahead @ step)
        if end >= -slope / 2:
            break
        shorter = max(0.1, slope / (slope - end))
        step, slope = shorter * step, shorter * slope
    return step, ahead


def _solved(solver: Method, force: Tensor) -> Tensor:
    return solver.solve(force[None])[0].double()
