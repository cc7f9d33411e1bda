"""Pulls queries back through the stages: the formulas of the method.

One stage back (Chen et al. 2020, eqs. 9 to 15, per parameter instead of per case). T are the trained parameters of a
stage: P inherited, N new. F are its inherited and frozen parameters, H its Hessian or Gauss-Newton matrix with l2,
alpha its proximity, and q a query's gradient there:

    v    = (H_TT + 2 alpha I_P)^-1 q_T
    q'_F = q_F - H_FT v          the trained parameters re-adjust to the frozen ones
    q'_P = 2 alpha v_P           the trained parameters are held near their start

q', with zeros for the previous stage's own head, is the query's gradient at the previous stage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from influence.attribution.span import MixedDerivative
from influence.attribution.stationarity import Stationarity
from influence.curvature import Method
from influence.curvature.identity import Identity
from influence.curvature.method import UNKNOWN_ERROR
from influence.derivatives import Objective
from influence.derivatives.batch_size import widen
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.losses import checked_losses, refuse_changing
from influence.derivatives.missing import warn_of_missing
from influence.derivatives.objective import objectives_of
from influence.study.study import Study


class WayBack:
    """Pulls queries back through the stages of a study, each with its objective and its solver.

    Args:
        study: what was trained on what.
        objectives: of stages that follow each other, up to the last.
        solvers: of each, the method that inverts its curvature.
        mixed: the mixed derivative of each, of earlier queries, for what it has computed.
    """

    def __init__(
        self,
        study: Study,
        objectives: Sequence[Objective],
        solvers: Sequence[Method],
        mixed: Sequence[MixedDerivative] | None = None,
    ):
        self.study, self.objectives, self.solvers = study, list(objectives), list(solvers)
        self.mixed = mixed or [MixedDerivative() for _ in self.objectives]

    @property
    def last(self) -> Objective:
        return self.objectives[-1]

    def query_gradients(self, queries: Any = None) -> Tensor:
        """Gradients of the queries' measure (default: the study's) over all parameters of the last stage: (Q, P)."""
        queries, last = self.study.queries if queries is None else queries, self.last
        gradients = torch.empty(len(queries), last.all.size, dtype=last.sum_dtype, device=last.device)
        for rows, found in example_gradients(last, queries, last.all, self.study.measure):
            gradients[rows] = found
        last.warn_if_constant(gradients.any())
        return gradients

    def pull_back(self, queries: Tensor) -> Iterator[tuple[Objective, Tensor]]:
        """From the last stage to the first: (objective, v), with v (Q, T) the queries pulled back and solved there.

        The score of a training example z of that stage is v . (gradient of its loss) / m.
        """
        later: list[float] = []
        for i in reversed(range(len(self.objectives))):
            objective = self.objectives[i]
            sides = objective.all.columns(queries, objective.trained)
            solved = self._solved(i, sides)
            self.solvers[i].measure_error(sides, solved)
            later = carried(self.solvers[i].report, later)
            # Of a large model's vectors every copy counts: of these only what flows back through frozen values is left.
            queries = objective.all.columns(queries, objective.frozen).clone()
            del sides
            yield objective, solved
            if i:
                queries = pull_one(objective, self.objectives[i - 1], queries, solved, self.mixed[i])
            del solved

    def pull_to_first(self, queries: Tensor) -> tuple[Objective, Tensor]:
        """`pull_back` whose last pair alone is kept: (objective of the first of these stages, v (Q, T) there)."""
        stages = self.pull_back(queries)
        del queries
        for _ in self.objectives[1:]:
            next(stages)
        return next(stages)

    def _solved(self, number: int, queries: Tensor) -> Tensor:
        """The queries (Q, T) solved at a stage."""
        return self.solvers[number].solve(queries)


class Chain(WayBack):
    """The stages of a study from `first` to the last, checked: their losses, their data, how far from a minimum.

    Args:
        study: what was trained on what.
        first: index of the earliest stage.
        solver: objective -> the method that inverts its curvature.
        device, batch_size, halvings: as of `Objective`.
        mixed: as of `WayBack`, of an earlier chain of the same study.

    Raises:
        LossError, StudyError: a stage's losses are not finite, not deterministic, or depend on the batch; or parameters
            that were begun anew count as inherited.
    """

    def __init__(
        self,
        study: Study,
        first: int,
        solver: Callable[[Objective], Method],
        *,
        device: torch.device | str = "cpu",
        batch_size: int | None = None,
        halvings: int = 0,
        mixed: Sequence[MixedDerivative] | None = None,
    ):
        objectives = objectives_of(study, device=device, batch_size=batch_size, halvings=halvings)[first:]
        widen(objectives)
        for objective in objectives if halvings else ():
            objective.remarks.notes.add(
                f"{objective.stage.name}: memory ran out; {objective.batch_size} examples at a time"
            )
        checked_losses(objectives[-1], study.queries, study.measure)
        self.stationarities = []
        for objective in objectives:
            refuse_changing(objective, checked_losses(objective, objective.stage.data))
            position = study.stages.index(objective.stage)
            before = dict(study.stages[position - 1].model.named_parameters()) if position else {}
            self.stationarities.append(Stationarity(objective, before))
            objective.warn_if_constant(not self.stationarities[-1].constant)
            warn_of_missing(objective)
        super().__init__(study, objectives, [solver(objective) for objective in objectives], mixed)

    def gradient_norms(self) -> list[float]:
        """Norm of the gradient of each stage's objective over its trained parameters; 0 at a minimum."""
        return [each.norm for each in self.stationarities]

    def _solved(self, number: int, queries: Tensor) -> Tensor:
        """As of `WayBack`; the first ones measure how far the stage stands from a minimum."""
        solved, stationarity = super()._solved(number, queries), self.stationarities[number]
        if stationarity.open and len(queries) and not isinstance(self.solvers[number], Identity):
            stationarity.measure(solved)
        return solved


def carried(report: dict[str, Any], later: list[float]) -> list[float]:
    """Put the error that the stages after a stage leave in its queries into its report, beside that of its own solve.

    The errors have nothing to do with each other, so their squares add up.
    """
    own = report.get("score_error", [])
    if own or later:
        pairs = zip_longest(own, later, fillvalue=0.0)
        report["score_error"] = [min(math.hypot(a, b), UNKNOWN_ERROR) for a, b in pairs]
    return report.get("score_error", [])


def pull_one(here: Objective, before: Objective, frozen: Tensor, solved: Tensor, mixed: MixedDerivative) -> Tensor:
    """The queries one stage back: their derivatives (Q, F), overwritten, and solutions (Q, T here) -> (Q, P before)."""
    frozen -= mixed(here, solved).to(frozen.dtype)
    return passed_on(here, before, solved, frozen, 2 * here.stage.proximity)


def passed_on(here: Objective, before: Objective, trained: Tensor, frozen: Tensor, times: float = 1.0) -> Tensor:
    """Derivatives in the inherited values, as vectors over all parameters of the stage before: (Q, P before).

    Args:
        here: the stage that inherits.
        before: the stage that it inherits from.
        trained: (Q, T), derivatives in the values that its trained parameters started from or are held near.
        frozen: (Q, F), derivatives in its frozen values.
        times: what `trained` is multiplied by.
    """
    pulled = frozen.new_zeros(len(frozen), before.all.size)
    for name, origin in here.groups.inherited.items():
        held = name in here.trained.slices
        share = times * trained[:, here.trained.slices[name]] if held else frozen[:, here.frozen.slices[name]]
        # Added, not set: two parameters here may stem from one there.
        pulled[:, before.all.slices[origin]] += share.to(pulled.dtype)
    return pulled
