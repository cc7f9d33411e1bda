"""`scores_after`: the scores of the examples that are left, once edits were made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from influence.attribution.chain import Chain
from influence.attribution.edits.change import Change
from influence.attribution.edits.effect import check_steps
from influence.attribution.edits.minima import minima_near
from influence.attribution.guards import derivatives_named, device_of, solver_of
from influence.attribution.scores import Scores, attribute
from influence.errors import MethodError
from influence.progress import Progress
from influence.study.copies import copied, put
from influence.study.edits import Edit
from influence.study.revision import by_stage, revised, weighted
from influence.study.study import Study
from influence.study.targets import TargetLike


def scores_after(
    study: Study,
    edits: Edit | Iterable[Edit],
    *,
    stage: str | None = None,
    method: str = "cg",
    damping: float | None = None,
    curvature: str = "ggn",
    steps: int = 3,
    targets: Sequence[TargetLike] | None = None,
    device: torch.device | str | None = None,
    progress: bool = True,
    batch_size: int | None = None,
    **options: Any,
) -> Scores:
    """`attribute` as if the edits had been made: which examples matter then?

    All stages are moved by the steps of `edit_effect` to the minimum of the edited objective. There the curvature is
    fitted again, and the queries are pulled back anew (Sun, Mu, Hua, "Regularizing Second-Order Influences for
    Continual Learning", CVPR 2023, rank again after each round of their selection).

    Args:
        study: as of `edit_effect`.
        edits: as of `edit_effect`.
        stage: whose examples are scored; None is the first.
        method: as of `attribute`, but for those without curvature.
        damping: as of `attribute`.
        curvature: as of `attribute`.
        steps: beyond the first, to the edited minimum; at least 1.
        targets: as of `attribute`.
        device: as of `attribute`.
        progress: as of `attribute`.
        batch_size: as of `attribute`.
        options: of the method.

    Returns:
        Scores of the stage's m examples, with their new labels and weights; nan for those that are left out. The report
        is that of `attribute` after the edits, and warns where steps do not converge.

    Raises:
        StudyError, LossError, CurvatureError: as `edit_effect`.
        MethodError: a method without curvature, no steps, or steps that end far from the edited minimum.
    """
    made = [edits] if isinstance(edits, Edit) else list(edits)
    first, place = min(by_stage(study, made)), device_of(study, device)
    solver = solver_of(method, damping, curvature, options)
    refuse_no_steps(method, steps)
    with derivatives_named(study), Progress(visible=progress) as bars, bars.step("The edits together"):
        chain = Chain(study, first, solver, device=place, batch_size=batch_size)
        after, warnings = study_after(chain, made, steps)
    found = attribute(
        after, stage=stage, method=method, damping=damping, curvature=curvature, targets=targets, device=place,
        progress=progress, batch_size=batch_size, **options,
    )  # fmt: skip
    found.values = of_those_left(found.values, study, made, found.stage)
    found.report["warnings"] = [*warnings, *found.report["warnings"]]
    return found


def refuse_no_steps(method: str, steps: int) -> None:
    """Raise MethodError for steps that lead to no edited minimum."""
    check_steps(method, steps)
    if steps < 1:
        raise MethodError(f"steps is {steps!r}, expected at least 1: scores are computed where they lead.")


def study_after(chain: Chain, edits: Sequence[Edit], steps: int) -> tuple[Study, list[str]]:
    """The study with the edits made and its models where the steps lead; and warnings of steps that do not converge.

    Args:
        chain: fitted, from the first edited stage or an earlier one on.
        edits: at least one.
        steps: beyond the first, at least 1.

    Raises:
        MethodError: the steps end far from the edited minimum.
        StudyError, LossError: as `edit_effect`.
    """
    study = chain.study
    objectives = {study.stages.index(each.stage): each for each in chain.objectives}
    changes = {objectives[i]: Change(objectives[i], some) for i, some in by_stage(study, edits).items()}
    minima = minima_near(chain, changes, steps)
    if not minima.settled:
        raise MethodError(" ".join(minima.warnings))
    edited, weights = revised(study, edits)
    stages = list(edited.stages)
    for position, parameters in zip(objectives, minima.parameters, strict=True):
        stage, model = stages[position], copied(stages[position].model)
        put(model, parameters)
        stages[position] = dataclasses.replace(stage, model=model)
        if stage.name in weights:
            stages[position] = weighted(stages[position], weights[stage.name])
    return Study(study.name, stages, study.queries, study.measure), minima.warnings


def of_those_left(values: np.ndarray, study: Study, edits: Sequence[Edit], stage: str) -> np.ndarray:
    """Scores (Q, m) of a stage's own examples, of those of its edited data; nan for those that are left out."""
    found = values[:, : len(study.stages[study.position(stage)].data)].copy()
    weights = revised(study, edits)[1].get(stage)
    if weights is not None:
        found[:, (weights[: found.shape[1]] == 0).numpy()] = np.nan
    return found
