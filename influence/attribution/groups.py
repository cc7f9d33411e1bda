"""Sets of examples: scores summed by label (`totals`), and the effect of leaving a whole set out (`group_effect`)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from influence.attribution.chain import Chain
from influence.attribution.guards import derivatives_named, device_of, solver_of
from influence.attribution.report import report_of
from influence.attribution.scores import Scores
from influence.curvature import Method
from influence.derivatives import Objective
from influence.derivatives.first.gradients import example_gradients, gradient
from influence.derivatives.losses import checked_losses
from influence.derivatives.objective import restricted, without
from influence.derivatives.second.products import ggn_product
from influence.errors import MethodError, StudyError
from influence.progress import Progress
from influence.study.study import Study

ROUNDING_SHARE = 1e-10
"""Residual, relative to the first, below which a growing residual is rounding and not divergence."""


def totals(scores: Scores | np.ndarray, labels: Sequence[Any] | pd.Series) -> pd.DataFrame:
    """Scores summed over the examples of each label: any column of a run's table of examples will do.

    Args:
        scores: of `attribute`, or (Q, m), or (m,) of one query; in nats.
        labels: one of every example (m,), in their order. A missing one (None, NaN) is a label of its own.

    Returns:
        A row for each query and label, labels in the order of their first example: query, label, count, total (nats,
        the first-order effect of leaving all of them out, positive = helpful), mean (total / count).

    Raises:
        StudyError: not one label for every example.
    """
    given = scores.values if isinstance(scores, Scores) else scores  # noqa: PD011 - not of pandas
    values = np.atleast_2d(np.asarray(given, dtype=np.float64))
    column = pd.Series(list(labels), dtype=object)
    if values.ndim != 2 or len(column) != values.shape[1]:
        raise StudyError(
            f"There are {len(column)} labels for scores of shape {values.shape}, expected one for every example "
            "(column)."
        )
    codes, names = pd.factorize(column, use_na_sentinel=False)
    counts = np.bincount(codes, minlength=len(names))
    members = np.zeros((len(column), len(names)))
    members[np.arange(len(column)), codes] = 1
    sums = values @ members
    return pd.DataFrame(
        {
            "query": np.repeat(np.arange(len(values)), len(names)),
            "label": np.tile(np.asarray(names, dtype=object), len(values)),
            "count": np.tile(counts, len(values)),
            "total": sums.ravel(),
            "mean": (sums / counts).ravel(),
        }
    )


@dataclass(frozen=True, eq=False)
class GroupEffect:
    """Predicted change of every query's loss, in nats, if all of a set of examples is left out at once."""

    stage: str
    examples: tuple[int, ...]
    first: np.ndarray
    """(Q,), the sum of the members' scores."""
    second: np.ndarray
    """(Q,), the correction beyond first order; zeros with `second_order=False`."""
    report: dict[str, Any]
    """As of `attribute`; "group" has, by stage, the residual (force . H^-1 force) before each step."""

    @property
    def total(self) -> np.ndarray:
        """(Q,), first + second."""
        return self.first + self.second


def group_effect(
    study: Study,
    stage: str | None,
    examples: Iterable[int],
    *,
    method: str = "cg",
    damping: float | None = None,
    curvature: str = "ggn",
    second_order: bool = True,
    steps: int = 1,
    device: torch.device | str | None = None,
    progress: bool = True,
    batch_size: int | None = None,
    **options: Any,
) -> GroupEffect:
    """What leaving out a whole set of examples of one stage does to every query (Basu, You, Feizi, ICML 2020).

    Left out is weight 0 in the stage's mean loss, whose denominator m stays: the objective loses
    F_S = 1/m sum_{z in S} loss_z. At the minimum its gradient becomes -g_S and its curvature H - H_S (g_S, H_S those
    of F_S, H that of the whole objective, damped), so that Newton's step is

        (H - H_S)^-1 g_S = d + H^-1 H_S d + ...    with d = H^-1 g_S

    and with v the query, pulled back to this stage and solved there, `first` = v . g_S. Beyond that:

    - curvature="ggn": `second` = v . H_S d, the paper's interaction of the members (arXiv 1911.00418). More `steps`
      add further terms of the series, which converges to the whole Newton step. Third derivatives are dropped, and so
      are the second derivatives of later stages and of the measure. These are of the same order, so the error still
      falls with the square of the group's weight; it falls with the cube only where they vanish (a quadratic objective,
      a measure that is linear in the parameters).
    - curvature="hessian": the stage is moved by d; there the gradient without the members is computed and solved for
      again. To second order this is H^-1 (H_S d - F'''[d, d] / 2): it includes third derivatives, for one gradient
      instead of a product. Every later stage then takes as many steps towards its new minimum, and the measure is
      evaluated at the end. No term of second order is dropped, so the error falls with the cube of the weight. With
      more `steps` the result converges to retraining (Newton's method with a fixed Hessian).

    Relative errors against retraining (digits, 216 and 222 trained parameters, frozen embedding, a random 15 % of the
    stage left out), first, second, steps=3: last stage 0.18, 0.05, 0.04 with "ggn", 0.18, 0.02, 0.001 with
    "hessian"; first stage 0.74, 0.78, 0.78 with "ggn", which is far from a minimum's Hessian there, 0.16, 0.04, 0.002
    with "hessian". A whole class of the last stage, 0.84 at first order, is 0.67, with steps=20 0.03 ("hessian").

    Args:
        study: what was trained on what; for "hessian" at minima of its objectives.
        stage: whose examples; None is the first.
        examples: positions in the stage's data, each once.
        method: of every solve, see `attribute`.
        damping: see `attribute`.
        curvature: which of the two forms above.
        second_order: False gives the first order only.
        steps: beyond the first order. Each costs a solve for a single vector and a pass over the data. Steps that
            diverge end early, with a warning.
        device: see `attribute`.
        progress: see `attribute`.
        batch_size: see `attribute`.
        options: of the method.

    Raises:
        StudyError: no such stage or example, an empty set, or an example twice.
        LossError, MethodError, CurvatureError: as for `attribute`.
    """
    started = time.perf_counter()
    position = study.position(stage)
    left_out = _checked(study, position, examples)
    solver = solver_of(method, damping, curvature, options)
    _check_steps(method, second_order, steps)
    place = device_of(study, device)
    with derivatives_named(study), Progress(visible=progress) as bars:
        with bars.step(f"Curvature ({method})"):
            chain = Chain(study, position, solver, device=place, batch_size=batch_size)
        with bars.step("Pulling queries back"):
            for pulled in chain.pull_back(chain.query_gradients()):
                objective, solved = pulled
        report = report_of(chain, method)  # before the steps, whose solves overwrite the queries' residuals
        name = objective.stage.name
        first = solved.double() @ summed_gradient(restricted(objective, left_out)) / objective.count
        second, taken = torch.zeros_like(first), dict[str, list[float]]()
        if second_order:
            with bars.step(f"{len(left_out)} examples of {name} together"):
                if curvature == "ggn":
                    second, taken[name] = _interaction(chain, left_out, solved, steps)
                else:
                    change, taken = _readjusted(chain, left_out, steps)
                    second = change.to(first) - first
    report |= {"group": taken, "warnings": report["warnings"] + _astray(taken)}
    report["seconds"] = time.perf_counter() - started
    return GroupEffect(name, left_out, first.cpu().numpy(), second.cpu().numpy(), report)


def _interaction(chain: Chain, left_out: Sequence[int], solved: Tensor, steps: int) -> tuple[Tensor, list[float]]:
    """(sum over the steps of v . H_S d (Q,), residual before each step), H_S the members' Gauss-Newton matrix."""
    objective, solver = chain.objectives[0], chain.solvers[0]
    members = restricted(objective, left_out)
    force = summed_gradient(members) / objective.count
    total = torch.zeros(len(solved), dtype=torch.float64, device=solved.device)
    energies: list[float] = []
    for _ in range(steps):
        step = _solved(solver, force, energies)
        if step is None:
            break
        force = ggn_product(members, step[None])[0] * (members.count / objective.count)
        total += solved.double() @ force
    return total, energies


def _readjusted(chain: Chain, left_out: Sequence[int], steps: int) -> tuple[Tensor, dict[str, list[float]]]:
    """(change of the measure (Q,), stage -> residual before each step), after all stages have taken their steps."""
    base = checked_losses(chain.last, chain.study.queries, chain.study.measure)
    moved: dict[str, Tensor] = {}
    taken = {}
    for i, (objective, solver) in enumerate(zip(chain.objectives, chain.solvers, strict=True)):
        before = chain.objectives[i - 1].parameters if i else {}
        shift = {h: moved[t] - before[t] for h, t in objective.groups.inherited.items()} if i else {}
        remaining = objective if i else without(objective, left_out)
        moved, taken[objective.stage.name] = _minimum_near(objective, remaining, solver, shift, steps)
    return checked_losses(chain.last.at(moved), chain.study.queries, chain.study.measure) - base, taken


def _minimum_near(
    objective: Objective, remaining: Objective, solver: Method, shift: dict[str, Tensor], steps: int
) -> tuple[dict[str, Tensor], list[float]]:
    """(parameters, residual before each step) after Newton steps with a fixed curvature on the objective `remaining`.

    `shift` is the change of each inherited value. Frozen parameters change by it; held ones are pulled by proximity.
    """
    here = dict(objective.parameters)
    balance = gradient(objective).double()  # what l2 and proximity balance at the minimum
    for name, by in shift.items():
        if name in objective.frozen.slices:
            here[name] = here[name] + by
        else:
            balance[objective.trained.slices[name]] += 2 * objective.stage.proximity * by.flatten()
    start = objective.trained.flatten(objective.parameters).double()
    change, energies = torch.zeros_like(start), list[float]()
    diagonal = objective.ridge.double() + solver.damping
    for _ in range(1 + steps):
        parameters = here | objective.trained.unflatten(start + change)
        force = balance - gradient(remaining.at(parameters)).double() - diagonal * change
        step = _solved(solver, force, energies)
        if step is None:
            break
        change = change + step
    return here | objective.trained.unflatten(start + change), energies


def _solved(solver: Method, force: Tensor, energies: list[float]) -> Tensor | None:
    """H^-1 force; None if the residual, force . H^-1 force, is larger than before the last step."""
    step = solver.solve(force[None])[0]
    energies.append(float(force @ step))
    return None if len(energies) > 1 and energies[-1] > energies[-2] else step


def summed_gradient(objective: Objective) -> Tensor:
    """Sum of the gradients (T,) of all examples of an objective, not divided by their number."""
    blocks = example_gradients(objective, objective.stage.data, objective.trained)
    return torch.stack([rows.double().sum(0) for _, rows in blocks]).sum(0)


def _check_steps(method: str, second_order: bool, steps: int) -> None:
    if steps < 1:
        raise MethodError(f"steps is {steps!r}, expected at least 1; for the first order only, second_order=False.")
    if method == "identity" and second_order:
        raise MethodError(
            "Method 'identity' has no curvature, so what examples do together is not defined. Use another method, or "
            "second_order=False."
        )


def _astray(taken: dict[str, list[float]]) -> list[str]:
    """A warning for every stage whose steps diverge."""
    return [
        f"Stage {name!r}: the steps beyond the first order do not converge; those from number {len(energies)} on were "
        "left out. The group is too strong for a prediction: train again without it (`influence.training.Retrainer`)."
        for name, energies in taken.items()
        if len(energies) > 1 and energies[-1] > max(energies[-2], ROUNDING_SHARE * energies[0])
    ]


def _checked(study: Study, position: int, examples: Iterable[int]) -> tuple[int, ...]:
    """The examples, sorted.

    Raises:
        StudyError: the group is empty, names an example twice or one that does not exist, or has all examples.
    """
    name, count, found = study.stages[position].name, len(study.stages[position].data), list(examples)
    if not found:
        raise StudyError(f"The group of examples of stage {name!r} is empty, expected at least one.")
    wrong: list[Any] = [i for i in found if isinstance(i, bool | np.bool_) or not isinstance(i, int | np.integer)]
    if wrong:
        raise StudyError(f"Stage {name!r}: {_some(wrong)} in the group, expected positions (whole numbers).")
    wrong = [i for i in found if not 0 <= i < count]
    if wrong:
        raise StudyError(f"Stage {name!r} has no example {_some(wrong)}; its examples are 0 to {count - 1}.")
    numbers, times = np.unique(found, return_counts=True)
    if (times > 1).any():
        twice = _some(numbers[times > 1].tolist())
        raise StudyError(f"Stage {name!r}: the group names {twice} more than once; each can be left out only once.")
    if len(numbers) == count:
        raise StudyError(f"The group is all {count} examples of stage {name!r}; nothing would be left to train on.")
    return tuple(int(i) for i in numbers)


def _some(values: Sequence[Any]) -> str:
    return ", ".join(map(repr, values[:5])) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
