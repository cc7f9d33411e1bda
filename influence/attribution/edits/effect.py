"""`edit_effect`: what edits of the training data, made together, do to every query."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from influence.attribution.chain import Chain
from influence.attribution.edits.change import Change, same_labels
from influence.attribution.edits.minima import minima_near
from influence.attribution.explained import Explained
from influence.attribution.guards import derivatives_named, device_of, solver_of
from influence.attribution.report import report_of
from influence.derivatives import Objective
from influence.errors import MethodError
from influence.progress import Progress
from influence.study.edits import Edit, leave_out
from influence.study.revision import by_stage
from influence.study.study import Study
from influence.study.targets import TargetLike


@dataclass(frozen=True, eq=False)
class EditEffect:
    """Predicted change of every query's loss, in nats, if the edits were made together; positive = the loss rises."""

    first: np.ndarray
    """(Q,), to first order: the sum of what each edit does alone."""
    second: np.ndarray
    """(Q,), what is to be added for all orders that the steps reach; zeros with `steps=0`."""
    report: dict[str, Any]
    """As of `attribute`; `steps` has, by stage, the residual force . H^-1 force before each step and after the last."""

    @property
    def total(self) -> np.ndarray:
        """(Q,), first + second."""
        return self.first + self.second


def edit_effect(
    study: Study,
    edits: Edit | Iterable[Edit],
    *,
    method: str = "cg",
    damping: float | None = None,
    curvature: str = "ggn",
    steps: int = 1,
    targets: Sequence[TargetLike] | None = None,
    device: torch.device | str | None = None,
    progress: bool = True,
    batch_size: int | None = None,
    **options: Any,
) -> EditEffect:
    """What edits of the training data, of one stage or of several, do to every query if all are made together.

    An edit takes a set S of examples out of its stage and puts S~ in, the mean's denominator m stays. With v the query
    pulled back to the stage and solved there, and phi(z) = v . grad loss_z / m for any z of the stage's form,

        first = phi(S) - phi(S~),    the sum over the edits of all stages,

    which for leaving out is the sum of the scores. Its error falls with the square of the edits' weight.

    Each of `steps` goes beyond that. The stage is moved by Newton steps towards the minimum of the objective of the
    *edited* data, every later stage as many steps towards its own new minimum, and the measure is evaluated there. With
    the Hessian one step takes in all terms of second order (Basu, You, Feizi, "On Second-Order Group Influence
    Functions", ICML 2020, and those that it drops: third derivatives, later stages, the measure's own curvature), so
    the error falls with the cube of the weight. More steps converge to what training again from the solution gives.

    Steps are taken with the method's curvature, that of the data as they were, as long as each leaves little. Strong
    edits, and a Gauss-Newton matrix that is far from the Hessian, need more: from there on the Hessian of the edited
    objective is solved for by conjugate gradients, with the method as preconditioner.

    Args:
        study: what was trained on what, at minima of its objectives.
        edits: made by the functions of `influence.edits`; one or several, of different examples.
        method: of every solve, see `attribute`.
        damping: see `attribute`.
        curvature: see `attribute`.
        steps: beyond the first order; 0 gives the first order only. Each costs, at every stage from the first edited
            one on, a solve for a single vector and a pass over the data; where conjugate gradients are needed, up to
            ten solves and Hessian-vector products. A warning says where the steps do not converge.
        targets: functions of all queries (`influence.targets`); the effect is then on these, (targets,), in place of
            the queries' losses.
        device: see `attribute`.
        progress: see `attribute`.
        batch_size: see `attribute`.
        options: of the method.

    Raises:
        StudyError: no such stage or example, one edited twice, a stage that nothing is left of, examples of another
            form, a label that the stage does not have.
        LossError, MethodError, CurvatureError: as for `attribute`.
    """
    started = time.perf_counter()
    found = by_stage(study, edits)
    solver = solver_of(method, damping, curvature, options)
    check_steps(method, steps)
    position = min(found)
    place = device_of(study, device)
    with derivatives_named(study), Progress(visible=progress) as bars:
        with bars.step(f"Curvature ({method})"):
            chain = Chain(study, position, solver, device=place, batch_size=batch_size)
            edited = {chain.objectives[i - position]: some for i, some in found.items()}
            changes = {objective: Change(objective, some) for objective, some in edited.items()}
            explained = Explained(chain, targets)
        with bars.step("Pulling queries back"):
            first = first_order(chain.pull_back(explained.gradients()), changes)
        # Before the steps, whose solves overwrite the queries' residuals.
        report = explained.told(report_of(chain, method))
        second, taken = torch.zeros_like(first), dict[str, list[float]]()
        if steps:
            with bars.step("The edits together"):
                minima = minima_near(chain, changes, steps)
                second, taken = changed(explained, chain, minima.parameters[-1]).to(first) - first, minima.residuals
                report["warnings"] += minima.warnings
    for objective, some in edited.items():
        report["notes"] += same_labels(objective, some)
    report |= {"steps": taken, "seconds": time.perf_counter() - started}
    return EditEffect(first.cpu().numpy(), second.cpu().numpy(), report)


def group_effect(
    study: Study,
    stage: str | None,
    examples: Iterable[int],
    *,
    second_order: bool = True,
    steps: int = 1,
    **options: Any,
) -> EditEffect:
    """What leaving out a whole set of examples of one stage does: `edit_effect` of `edits.leave_out(stage, examples)`.

    Args:
        study: as of `edit_effect`.
        stage: whose examples; None is the first.
        examples: positions in the stage's data, each once.
        second_order: False gives the first order only.
        steps: beyond the first order, at least 1.
        options: as of `edit_effect`.

    Raises:
        StudyError, LossError, MethodError, CurvatureError: as `edit_effect`.
    """
    if steps < 1:
        raise MethodError(f"steps is {steps!r}, expected at least 1; for the first order only, second_order=False.")
    return edit_effect(study, leave_out(stage, examples), steps=steps if second_order else 0, **options)


def first_order(pulled: Iterable[tuple[Objective, Tensor]], changes: Mapping[Objective, Change]) -> Tensor:
    """(Q,), float64, the first-order effect of changes that are made together.

    Args:
        pulled: each stage with the queries pulled back and solved there, (Q, T).
        changes: of stages among these.
    """
    shares = [-(v.double() @ changes[objective].gradient(objective)) for objective, v in pulled if objective in changes]
    return torch.stack(shares).sum(0)


def changed(explained: Explained, chain: Chain, parameters: Mapping[str, Tensor]) -> Tensor:
    """Change of what is explained, (Q,), where the last stage has other parameters."""
    return explained.values(parameters) - explained.values(chain.last.parameters)


def check_steps(method: str, steps: int) -> None:
    """Raise MethodError for steps that the method cannot take."""
    if isinstance(steps, bool) or not isinstance(steps, Integral) or steps < 0:
        raise MethodError(f"steps is {steps!r}, expected a whole number of at least 0; 0 is the first order only.")
    if method == "identity" and steps:
        raise MethodError(
            "Method 'identity' has no curvature, so there are no steps to take. Use another method, or steps=0 for the "
            "first order."
        )
