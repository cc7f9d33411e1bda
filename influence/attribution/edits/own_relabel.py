"""`own_relabel_scores`: which label of each training example the other examples of its stage speak for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from influence.attribution.chain import Chain
from influence.attribution.edits.classes import LabelledBatch, require_classes
from influence.attribution.guards import checked_first, derivatives_named, device_of, solver_of
from influence.attribution.report import report_of
from influence.curvature import Method
from influence.derivatives import Objective, plain_kernels
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.first.watch import Watch
from influence.derivatives.second.outputs import OutputLoss, differentiable
from influence.derivatives.second.tangents import Tangents
from influence.errors import MethodError
from influence.progress import Progress
from influence.study.study import Study

AT_ONCE = 8
"""Examples whose outputs are moved together: each is pushed along the directions of all."""
MAX_SOLVES = 50
"""Most examples that an iterative method solves for."""


@dataclass(frozen=True, eq=False)
class OwnRelabelScores:
    """Change of each example's own loss by the model without it, in nats, if its label were another; see `values`."""

    values: np.ndarray
    """(m, C), float32: the loss of class c less that of the own label, by the stage's model without the example;
    negative = the other examples rather speak for c; 0 at the own class."""
    stage: str
    """Whose training examples."""
    report: dict[str, Any]
    """As of `attribute`."""


def own_relabel_scores(
    study: Study,
    stage: str | None = None,
    *,
    method: str = "cg",
    damping: float | None = None,
    curvature: str = "ggn",
    device: torch.device | str | None = None,
    progress: bool = True,
    **options: Any,
) -> OwnRelabelScores:
    """What each label would cost an example by the other examples of its stage: the ranking that finds wrong labels.

    `relabel_scores` judges a label by queries, for which another label may do more than the true one. Here the example
    itself is what is judged by, at its own stage and left out, so that its label does not speak for itself:

        f_z = outputs of z + J_z H^-1 grad loss_z / m,    values[z, c] = loss(f_z, c) - loss(f_z, label of z)

    The move is that of leaving z out to first order, as of self-influence. The smallest entry of a row is the gain of
    the best other label.

    Args:
        study: what was trained on what.
        stage: whose examples; default the first (pretraining).
        method: see `attribute`; one solve for each example.
        damping: see `attribute`.
        curvature: see `attribute`.
        device: see `attribute`.
        progress: see `attribute`.
        options: of the method.

    Raises:
        StudyError: the stage does not exist, or has no classes.
        MethodError: an iterative method, and more than `MAX_SOLVES` examples.
        LossError, CurvatureError: as for `attribute`.
    """
    started = time.perf_counter()
    first = study.position(stage)
    solver = checked_first(require_classes, study.stages[first], solver_of(method, damping, curvature, options))
    place = device_of(study, device)
    with derivatives_named(study), Progress(visible=progress) as bars:
        with bars.step(f"Curvature ({method})"):
            chain = Chain(study, first, solver, device=place)
        objective = chain.objectives[0]
        with bars.step(f"Labels of {objective.stage.name}", total=objective.count) as bar:
            found = []
            for values in own_label_changes(objective, chain.solvers[0], range(objective.count)):
                found.append(values)
                bar.advance(len(values))
    report = report_of(chain, method) | {"seconds": time.perf_counter() - started}
    return OwnRelabelScores(torch.cat(found).float().cpu().numpy(), objective.stage.name, report)


def own_label_changes(objective: Objective, solver: Method, rows: Sequence[int]) -> Iterator[Tensor]:
    """(n, C) of `own_relabel_scores`, of the examples at `rows`, a few at a time.

    Raises:
        StudyError: the stage has no classes.
        MethodError: an iterative method, and a stage of more than `MAX_SOLVES` examples.
    """
    if "iterations" in solver.report and objective.count > MAX_SOLVES:
        raise MethodError(
            f"Stage {objective.stage.name!r} has {objective.count:,} examples, for each of which method "
            f"{solver.card.name!r} would solve (at most {MAX_SOLVES:,}). Take 'exact' or 'ekfac'."
        )
    classes, watch = require_classes(objective), Watch(objective, objective.trained)
    with plain_kernels():
        tangents = Tangents(objective)
    for start in range(0, len(rows), AT_ONCE):
        some = Subset(objective.stage.data, list(rows[start : start + AT_ONCE]))
        gradients = torch.cat(
            [block for _, block in example_gradients(objective, some, objective.trained, watch=watch)]
        )
        moves = solver.solve(gradients.to(objective.dtype)) / objective.count
        for positions, batch in objective.batches(some):
            labelled = LabelledBatch(objective, some, positions, batch)
            yield _of_batch(objective, tangents, moves[positions], labelled, classes)


def _of_batch(objective: Objective, tangents: Tangents, moves: Tensor, batch: LabelledBatch, classes: int) -> Tensor:
    """(B, C) of the examples of a batch, each with its own move (B, T) of the parameters."""
    with plain_kernels(), torch.no_grad():
        outputs = objective.outputs(batch.batch)
        (place,) = OutputLoss(objective, outputs, batch.batch).places  # a stage with classes has one row an example
        leaves, rebuild = differentiable(objective, outputs)
        pushed = torch.cat([each[place] for _, each in tangents(batch.batch, moves)])
        own = torch.stack([pushed[row, row] for row in range(batch.count)])  # along the example's own move
        moved = leaves[place] + own.to(leaves[place])
        rebuilt = rebuild([*leaves[:place], moved, *leaves[place + 1 :]])
        losses = [objective.stage.loss(rebuilt, batch.with_class(number)) for number in range(classes)]
        before = objective.stage.loss(rebuilt, batch.batch)
    return torch.stack(losses, 1) - before[:, None]
