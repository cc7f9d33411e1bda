"""`relabel_scores`: what any other label of any training example would do to every query."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from influence.attribution.chain import Chain
from influence.attribution.edits.classes import LabelledBatch, require_classes
from influence.attribution.explained import Explained
from influence.attribution.guards import checked_first, derivatives_named, device_of, solver_of
from influence.attribution.memory import bytes_held, refuse_what_is_too_much
from influence.attribution.report import report_of
from influence.derivatives import Objective, plain_kernels
from influence.derivatives.second.outputs import OutputLoss, differentiable
from influence.derivatives.second.tangents import Tangents
from influence.progress import Progress
from influence.study.study import Study
from influence.study.targets import TargetLike


@dataclass(frozen=True, eq=False)
class RelabelScores:
    """Predicted change of every query's loss, in nats, if an example had another label; positive = the loss rises."""

    values: np.ndarray
    """(Q, m, C), float32; 0 at the class that an example has as its label."""
    stage: str
    """Whose training examples."""
    report: dict[str, Any]
    """As of `attribute`."""


def relabel_scores(
    study: Study,
    stage: str | None = None,
    *,
    method: str = "cg",
    damping: float | None = None,
    curvature: str = "ggn",
    targets: Sequence[TargetLike] | None = None,
    device: torch.device | str | None = None,
    progress: bool = True,
    batch_size: int | None = None,
    **options: Any,
) -> RelabelScores:
    """The first-order effect of every relabelling of one example, for all examples and classes in one pass.

        values[q, z, c] = phi(z) - phi(z with label c),    phi(z) = v_q . grad loss_z / m

    The loss depends on the parameters through the outputs alone, so phi(z with label c) is the slope of that loss in
    the outputs times the outputs' change along v_q: one derivative of the outputs serves all classes (Warnecke et al.,
    "Machine Unlearning of Features and Labels", NDSS 2023, has the difference of gradients for one label).

    Args:
        study: what was trained on what.
        stage: whose examples; default the first (pretraining).
        method: see `attribute`.
        damping: see `attribute`.
        curvature: see `attribute`.
        targets: functions of all queries to explain in their place, see `influence.targets`.
        device: see `attribute`.
        progress: see `attribute`.
        batch_size: see `attribute`.
        options: of the method.

    Raises:
        StudyError: the stage does not exist, or has no classes.
        LossError, MethodError, CurvatureError: as for `attribute`.
    """
    started = time.perf_counter()
    first = study.position(stage)
    solver = checked_first(require_classes, study.stages[first], solver_of(method, damping, curvature, options))
    place = device_of(study, device)
    with derivatives_named(study), Progress(visible=progress) as bars:
        with bars.step(f"Curvature ({method})"):
            chain = Chain(study, first, solver, device=place, batch_size=batch_size)
            objective, explained = chain.objectives[0], Explained(chain, targets)
            classes = require_classes(objective)
            held = bytes_held(study, first, method)
            held["the scores"] = 4 * explained.count * objective.count * classes
            refuse_what_is_too_much(held, place)
        with bars.step("Pulling queries back"):
            _, solved = chain.pull_to_first(explained.gradients())
        with bars.step(f"Labels of {objective.stage.name}", total=objective.count) as bar:
            values = np.empty((explained.count, objective.count, classes), dtype=np.float32)
            for positions, found in label_effects(objective, solved, classes):
                values[:, positions] = found.cpu().numpy()
                bar.advance(positions.stop - positions.start)
    report = explained.told(report_of(chain, method)) | {"seconds": time.perf_counter() - started}
    return RelabelScores(values, objective.stage.name, report)


def label_effects(
    objective: Objective, solved: Tensor, classes: int, examples: Any = None
) -> Iterator[tuple[slice, Tensor]]:
    """First-order effect of every label on every query, a batch of examples at a time.

    Args:
        objective: the stage's.
        solved: (Q, T), the queries pulled back to the stage and solved there.
        classes: C, as of `require_classes`.
        examples: with labels, in the form of the stage's data; None for these.

    Yields:
        (positions in `examples`, phi(z) - phi(z with label c) (Q, B, C)), 0 at the examples' own classes.
    """
    data = objective.stage.data if examples is None else examples
    with plain_kernels():
        tangents = Tangents(objective)
    for positions, batch in objective.batches(data):
        labelled = LabelledBatch(objective, data, positions, batch)
        yield positions, _of_batch(objective, tangents, solved.to(objective.dtype), labelled, classes)


def _of_batch(objective: Objective, tangents: Tangents, solved: Tensor, batch: LabelledBatch, classes: int) -> Tensor:
    """(Q, B, C) of the examples of a batch."""
    shares = torch.empty(len(solved), batch.count, classes, dtype=objective.sum_dtype, device=objective.device)
    with plain_kernels(), torch.enable_grad():
        outputs = objective.outputs(batch.batch)
        (place,) = OutputLoss(objective, outputs, batch.batch).places  # a stage with classes has one row an example
        leaves, rebuild = differentiable(objective, outputs)
        point = leaves[place].detach().requires_grad_()
        rebuilt = rebuild([*leaves[:place], point, *leaves[place + 1 :]])
        pushed = torch.cat([each[place] for _, each in tangents(batch.batch, solved)])
        along = pushed.reshape(len(solved), batch.count, -1).to(shares)

        def effect(labelled: Any) -> Tensor:
            total = objective.stage.loss(rebuilt, labelled).sum()
            (slope,) = torch.autograd.grad(total, [point], allow_unused=True, materialize_grads=True)
            return torch.einsum("qbk,bk->qb", along, slope.reshape(batch.count, -1).to(shares))

        for number in range(classes):
            shares[:, :, number] = effect(batch.with_class(number))
        own = effect(batch.batch)[:, :, None] if batch.soft else batch.own(shares)
    return (own - shares) / objective.count
