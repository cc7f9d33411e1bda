"""Fits a stage to a small gradient norm: full batch, deterministic, with a weight per example.

The theory assumes minima, so a stage is optimised until its gradient is small, not for a number of epochs. The
optimiser is L-BFGS. Where the curvature matrix fits, L-BFGS continues in coordinates whitened by it, and Newton steps
then reduce the gradient to rounding.
"Left out" is weight 0; the mean keeps its denominator m, as in the scores' definition.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from influence.derivatives import Objective, plain_kernels
from influence.derivatives.kernels.convolution import FastConvolution
from influence.derivatives.modes import callers_modes_off
from influence.derivatives.second.gauss_newton import ggn
from influence.derivatives.second.hessian import hessian
from influence.errors import LossError, TrainingError
from influence.study.copies import put
from influence.study.parameters import ParameterGroups, groups_of
from influence.study.stage import Stage
from influence.training.refusals import refuse_wrong_length

TOLERANCE = {torch.float64: 1e-8}
"""Gradient norm at which a stage has converged, for dtypes with enough digits."""

STEPS_PER_ROUND = 10
"""L-BFGS steps between two evaluations of the gradient norm."""
NEWTON_START_NORM = 1e-2
"""Gradient norm at which the curvature matrix is computed."""
MAX_DENSE = 3000
"""Largest number of trained parameters for which it is computed."""
STALLED_ROUNDS = 4
"""A descent ends after this many rounds without a smaller gradient."""


def gauss_newton(objective: Objective) -> Tensor:
    """The Gauss-Newton matrix (T, T), in float64; the Hessian where it says nothing.

    It says nothing of a loss that is linear in the outputs (log-probabilities), or of outputs that are no tensors.
    """
    try:
        matrix = ggn(objective)
    except LossError:
        return hessian(objective)
    return matrix if matrix.any() else hessian(objective)


CURVATURES = (*[gauss_newton] * 5, hessian, hessian)
"""Matrices that one fit may form, one after the other, until it is at its minimum. A Hessian costs some passes over the
data for every parameter, a Gauss-Newton matrix a few in all, and its coordinates are nearly as good."""


def tolerance_of(dtype: torch.dtype) -> float:
    """Gradient norm at which a stage has converged, by the precision of its dtype."""
    return TOLERANCE.get(dtype, 1e-5)


@dataclass
class Fit:
    """A fitted stage.

    Attributes:
        parameters: all parameters of the stage's model by name, frozen ones at their inherited values.
        gradient_norm: of the objective over the trained parameters, nats per unit of parameter.
        objective: its value, nats.
        iterations: optimiser steps.
        converged: whether gradient_norm reached the tolerance, or what its dtype can show.
        seconds: wall time.
    """

    parameters: dict[str, Tensor]
    gradient_norm: float
    objective: float
    iterations: int
    converged: bool
    seconds: float

    def record(self) -> dict[str, Any]:
        """Everything but the parameters, for the run's manifest."""
        return {key: value for key, value in vars(self).items() if key != "parameters"}


class Trainer:
    """Fits one stage, as often as asked, with its data held on the device.

    Args:
        stage: its model gives the architecture, buffers and, where nothing else is said, the starting point.
        groups: what it inherits, freezes and trains.
        device: where to train.

    Attributes:
        dense: whether the stage is small enough for its curvature to be formed.
    """

    def __init__(self, stage: Stage, groups: ParameterGroups, device: torch.device | str = "cpu"):
        self.stage, self.groups = stage, groups
        self._objective = Objective(stage, groups, device=device)
        self.layout = self._objective.trained
        self.dense = self.layout.size <= MAX_DENSE
        self._batches = list(self._objective.batches(stage.data))

    def fit(
        self,
        *,
        inherited: Mapping[str, Tensor] | None = None,
        start: Mapping[str, Tensor] | None = None,
        weights: Tensor | None = None,
        whitening: Tensor | None = None,
        tolerance: float = 1e-8,
        iterations: int = 5000,
        report: Callable[[float], None] | None = None,
    ) -> Fit:
        """Minimise sum_z weight_z loss_z / m + 1/2 sum_i l2_i theta_i^2 + proximity |P - P_inherited|^2.

        Args:
            inherited: values of the inherited parameters, by name here; default the stage's model's.
            start: where to begin, by name here; default the stage's model's values, and the inherited ones.
            weights: (m,), default all 1; 0 leaves an example out.
            whitening: of the Hessian near the minimum, (T, T), from an earlier `whitening_at`; only where `dense`.
            tolerance: stop when the gradient's norm is this small.
            iterations: stop after so many steps all the same.
            report: called with the share (0..1) of the way, in orders of magnitude of the gradient.

        Raises:
            TrainingError: weights of the wrong length, or an objective that is not finite.
        """
        began = time.perf_counter()
        descent = _Descent(
            self._objective, self._batches, inherited or {}, start or {}, weights, tolerance, iterations, report
        )
        if whitening is None:
            descent.lbfgs(max(NEWTON_START_NORM, tolerance) if self.dense else tolerance)
        for curvature in CURVATURES if self.dense else ():
            if descent.norm <= tolerance or descent.steps >= iterations:
                break
            current = self.whitening_at(descent.parameters, curvature) if whitening is None else whitening
            if not descent.newton(current):
                descent.lbfgs(tolerance, current)
                descent.newton(current)
            whitening = None
        return Fit(
            descent.parameters,
            descent.norm,
            descent.value,
            descent.steps,
            descent.norm <= max(tolerance, tolerance_of(self._objective.dtype)),
            time.perf_counter() - began,
        )

    def whitening_at(self, parameters: dict[str, Tensor], curvature: Callable[[Objective], Tensor] = hessian) -> Tensor:
        """|H|^(-1/2) at `parameters`, (T, T), eigenvectors over root eigenvalues, of the objective's H.

        H is its Hessian, or what `curvature` gives of the data term (T, T), nats, with the ridge of l2 and proximity.
        """
        objective = self._objective.at(parameters)
        matrix = curvature(objective)
        matrix.diagonal().add_(objective.ridge)
        eigenvalues, vectors = torch.linalg.eigh(matrix)
        size = eigenvalues.abs().clamp(min=1e-6 * float(eigenvalues.abs().max()))
        return (vectors / size.sqrt()).to(self._objective.dtype)


class _Descent:
    """The state of one fit: where it is, the objective's value and gradient there, and how far it has come."""

    def __init__(
        self,
        objective: Objective,
        batches: list[tuple[slice, Any]],
        inherited: Mapping[str, Tensor],
        start: Mapping[str, Tensor],
        weights: Tensor | None,
        tolerance: float,
        iterations: int,
        report: Callable[[float], None] | None,
    ):
        refuse_wrong_length(objective, weights)
        self.objective, self.batches, self.layout, self.weights = objective, batches, objective.trained, weights
        self.tolerance, self.iterations, self.report, self.steps = tolerance, iterations, report, 0
        self.fixed = {n: t.detach().to(objective.device) for n, t in {**objective.parameters, **inherited}.items()}
        self.anchor = self.layout.flatten(self.fixed)
        self.l2, self.proximity = objective.l2.to(self.anchor), objective.proximity.to(self.anchor)
        own = {n: objective.parameters[n] for n in self.layout.shapes}
        begin = {**self.fixed, **own, **{n: t.detach().to(objective.device) for n, t in start.items()}}
        self.point = self.layout.flatten(begin).clone().requires_grad_()
        self.value = self.norm = math.inf
        self.evaluate()
        self.first = self.norm

    @property
    def parameters(self) -> dict[str, Tensor]:
        return {**self.fixed, **self.layout.unflatten(self.point.detach())}

    def evaluate(self) -> Tensor:
        """The objective's value at `point`; its gradient goes to `point.grad`, batch by batch."""
        point, stage = self.point, self.objective.stage
        point.grad = None
        ridge = (self.l2 / 2 * point.square()).sum() + (self.proximity * (point - self.anchor).square()).sum()
        ridge.backward()
        total = ridge.detach().double()  # the line search compares values that differ in their last digits
        with plain_kernels(), FastConvolution():
            for positions, batch in self.batches:
                losses = self.objective.losses(
                    batch, positions.stop - positions.start, {**self.fixed, **self.layout.unflatten(point)}
                )
                if self.weights is not None:
                    losses = losses * self.weights[positions].to(losses)
                part = losses.sum() / self.objective.count
                part.backward()  # one batch's graph is alive at a time
                total = total + part.detach().double()
        assert point.grad is not None
        self.value, self.norm = float(total), float(point.grad.norm())
        if not math.isfinite(self.value) or not math.isfinite(self.norm):
            raise TrainingError(
                f"Stage {stage.name!r}: the objective became {self.value} while fitting; check losses and l2."
            )
        return total

    def lbfgs(self, tolerance: float, whitening: Tensor | None = None) -> None:
        """Until the gradient's norm is `tolerance`, or no round makes it smaller any more.

        `whitening` (T, T) is a change of coordinates in which the objective is nearly round, so that few steps do.
        """
        origin = self.point.detach().clone()
        away = torch.zeros_like(origin, requires_grad=True)
        _leave_compiler_out()
        optimiser = torch.optim.LBFGS(
            [away],
            max_iter=STEPS_PER_ROUND,
            max_eval=2 * STEPS_PER_ROUND,
            history_size=50,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            with torch.no_grad():
                self.point.copy_(origin + (away if whitening is None else whitening @ away))
            value = self.evaluate()
            assert self.point.grad is not None
            away.grad = self.point.grad if whitening is None else whitening.T @ self.point.grad
            return value

        lowest, patience = self.norm, 0
        while self.norm > tolerance and self.steps < self.iterations and patience < STALLED_ROUNDS:
            optimiser.step(closure)
            closure()
            patience = 0 if self.norm < 0.9 * lowest else patience + 1
            lowest = min(lowest, self.norm)
            self.steps += STEPS_PER_ROUND
            self._tell()

    def newton(self, whitening: Tensor) -> bool:
        """Steps by whitening whitening' (the inverse Hessian) while each halves the gradient; whether it was enough."""
        while self.norm > self.tolerance and self.steps < self.iterations:
            assert self.point.grad is not None
            before, norm = self.point.detach().clone(), self.norm
            with torch.no_grad():
                self.point -= whitening @ (whitening.T @ self.point.grad)
            self.evaluate()
            self.steps += 1
            if self.norm > norm:
                with torch.no_grad():
                    self.point.copy_(before)
                self.evaluate()
            if self.norm > norm / 2:
                break
            self._tell()
        return self.norm <= self.tolerance

    def _tell(self) -> None:
        if self.report and self.first > self.tolerance:
            way = math.log(self.first / max(self.norm, self.tolerance)) / math.log(self.first / self.tolerance)
            self.report(min(1.0, max(0.0, way)))


def _leave_compiler_out() -> None:
    """Mark a method of PyTorch's optimisers as kept out of `torch.compile` already.

    At its first call PyTorch would load its whole compiler for that, a second or more, and here nothing is compiled.
    """
    method = getattr(torch.optim.Optimizer.add_param_group, "__wrapped__", None)
    if method is not None and not hasattr(method, "__dynamo_disable"):
        setattr(method, "__dynamo_disable", method)


@callers_modes_off()
def fit_stage(
    stage: Stage,
    previous: Stage | None,
    *,
    iterations: int = 5000,
    report: Callable[[float], None] | None = None,
) -> Fit:
    """Fit a stage that inherits from `previous` as that stands now, and put the result into the stage's own model.

    With `iterations` 0 nothing moves: the result says how far from a minimum the stage stands.
    """
    groups = groups_of(stage, previous)
    before = dict(previous.model.named_parameters()) if previous else {}
    inherited = {here: before[there] for here, there in groups.inherited.items()}
    start = inherited if iterations else None
    fit = Trainer(stage, groups).fit(inherited=inherited, start=start, iterations=iterations, report=report)
    if iterations:
        put(stage.model, fit.parameters)
    return fit
