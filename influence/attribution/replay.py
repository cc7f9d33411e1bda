"""The exact derivative of a query's loss through all steps of the recorded trainings of all stages.

The query's gradient at the end of the last stage is back-propagated through every step of its training (`reverse.py`).
The adjoints of the inherited values (frozen values, start, centre of the proximity term) are then the query's gradient
at the end of the stage before, where the pass continues. So no stage needs to stand at a minimum. After MAGIC (Ilyas &
Engstrom 2025, arXiv 2504.16430), which has one stage.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from influence.attribution.chain import passed_on, pull_one
from influence.attribution.span import MixedDerivative
from influence.curvature.cards import MAX_DENSE_SIZE
from influence.curvature.cg import ConjugateGradients
from influence.curvature.exact import Exact
from influence.derivatives import Objective
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.losses import checked_losses
from influence.derivatives.modes import callers_modes_off
from influence.derivatives.objective import objectives_of
from influence.errors import MethodError
from influence.progress import Progress
from influence.study.study import Study
from influence.training.recording import Recording
from influence.training.reverse import Reverse


@dataclasses.dataclass
class ReplayedScores:
    """The result of a replay.

    Attributes:
        scores: by stage, first replayed to last: (Q, m), in nats: the predicted change of the query's loss if the
            weight of the example went from 1 to 0. Positive = leaving it out hurts = helpful.
        stages: a report a stage: steps, recipe, largest norm of a query's gradient at the end of the stage, seconds.
        notes: sentences about what could not be vectorised.
    """

    scores: dict[str, Tensor]
    stages: list[dict[str, Any]]
    notes: list[str]


@callers_modes_off()
def replay(
    study: Study,
    recordings: Sequence[Recording] | None,
    *,
    stage: str | None = None,
    queries: Sequence[int | Sequence[int]] | None = None,
    minima: Collection[str] = (),
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    progress: bool = False,
) -> ReplayedScores:
    """Score the training examples of `stage` and of all later stages, in one pass backwards through the trainings.

    Memory: each query takes a few vectors of all parameters, and (Q, m) scores a stage.

    Args:
        study: its models hold the parameters that the recordings ended with (`Recording.apply`).
        recordings: one of every stage from `stage` to the last, each recorded from the one before it.
        stage: where to stop, by name; default the first (pretraining).
        queries: positions of the queries, default all. A list of positions is a group: the sum of their losses, for the
            cost of a single query.
        minima: names of stages without a recording that stand at a minimum, none of them the first. A query is pulled
            back through them by a solve with their Hessian, which is exact there; their examples are not scored.
        device: where to compute. It must be the device of the recordings, since others round differently.
        batch_size: queries whose gradients are computed at a time.
        progress: show bars with time left.

    Raises:
        MethodError: a recording is missing, or is not that of the study's model; a query does not exist.
        TrainingError: a training does not repeat itself (but for rounding), or its derivative is not finite.
        StudyError: there is no such stage.
        LossError: a loss fails its checks (`losses.py`).
    """
    first = study.position(stage)
    objectives = objectives_of(study, device=device, batch_size=batch_size)
    used = {
        i: None if i > first and study.stages[i].name in minima else _recording_of(study, i, recordings or ())
        for i in range(first, len(objectives))
    }
    found = ReplayedScores({}, [], [])
    with Progress(visible=progress) as bars:
        with bars.step("Gradients of the queries"):
            adjoints = _query_gradients(study, objectives[-1], queries)
        for i, recording in reversed(used.items()):
            began = time.perf_counter()
            if recording is None:
                with bars.step(f"Back through the minimum of {study.stages[i].name}"):
                    adjoints = _through_minimum(objectives[i], objectives[i - 1], adjoints)
                continue
            with bars.step(f"Replaying {recording.stage.name}", total=recording.recipe.steps) as bar:
                reverse = Reverse(objectives[i], recording, adjoints, carry=i > first)
                reverse.run(bar.advance)
            found.scores = {recording.stage.name: -reverse.weights.cpu(), **found.scores}
            found.stages.insert(0, _report(recording, adjoints, time.perf_counter() - began))
            if i > first:
                adjoints = passed_on(objectives[i], objectives[i - 1], reverse.start, reverse.frozen)
    found.notes = sorted(note for objective in objectives for note in objective.remarks.notes)
    return found


def _through_minimum(here: Objective, before: Objective, adjoints: Tensor) -> Tensor:
    """The queries one stage back, (Q, P here) -> (Q, P before), where the stage stands at a minimum."""
    solver = (Exact if here.trained.size <= MAX_DENSE_SIZE else ConjugateGradients)(here, curvature="hessian")
    solved = solver.solve(here.all.columns(adjoints, here.trained))
    return pull_one(here, before, here.all.columns(adjoints, here.frozen).clone(), solved, MixedDerivative())


def _recording_of(study: Study, position: int, recordings: Sequence[Recording]) -> Recording:
    """The recording of a stage.

    Raises:
        MethodError: it is missing, or does not match the stage's model or the one of the stage before.
    """
    stage, found = study.stages[position], None
    for each in recordings:
        if not isinstance(each, Recording):
            raise MethodError(f"recordings holds a {type(each).__name__}, expected what influence.record returns.")
        found = each if each.stage.name == stage.name else found
    if found is None:
        raise MethodError(
            f"Method 'replay' has no recording of stage {stage.name!r}; it needs one of every stage from the one that "
            "is scored to the last. Train the stage with influence.record, and pass recordings=[...]."
        )
    _require_equal(study, position, found.parameters, "its recording's end", "Call the recording's apply()")
    if len(found.weights) != len(stage.data):
        raise MethodError(
            f"Stage {stage.name!r} has {len(stage.data)} examples, but its recording has {len(found.weights)}. "
            "Record it again."
        )
    if position:
        inherited = {there: found.start[here] for here, there in found.groups.inherited.items()}
        what = f"where the recording of stage {stage.name!r} began"
        _require_equal(study, position - 1, inherited, what, f"Record {stage.name!r} again")
    return found


def _require_equal(study: Study, position: int, expected: dict[str, Tensor], what: str, advice: str) -> None:
    stage = study.stages[position]
    parameters = dict(stage.model.named_parameters())
    for name, value in expected.items():
        if name not in parameters or not torch.equal(parameters[name].detach().to(value), value):
            raise MethodError(
                f"Stage {stage.name!r}: the parameter {name!r} of its model differs from {what}, and a replay explains "
                f"only the training that it replays. {advice}."
            )


def _query_gradients(study: Study, last: Objective, queries: Sequence[int | Sequence[int]] | None) -> Tensor:
    """Gradients (Q, P) of the measure over all parameters of the last stage; those of a group are summed."""
    checked_losses(last, study.queries, study.measure)
    count = len(study.queries)
    rows = range(count) if queries is None else queries
    groups = [np.ravel(row).tolist() for row in rows]
    for query in (query for group in groups for query in group):
        if not 0 <= query < count:
            raise MethodError(f"There is no query {query}; the queries are 0 to {count - 1}.")
    if not groups or not all(groups):
        raise MethodError("queries holds an empty group; each row of the scores needs at least one query.")
    members = torch.stack([torch.bincount(torch.tensor(group), minlength=count) for group in groups])
    needed = members.any(0).nonzero().flatten()
    members, total = members[:, needed].to(last.device), torch.zeros(0)
    data = torch.utils.data.Subset(study.queries, needed.tolist())
    # A group may have many queries: their gradients are summed batch by batch.
    for positions, gradients in example_gradients(last, data, last.all, study.measure):
        part = members[:, positions].to(gradients) @ gradients
        total = total + part if positions.start else part
    last.warn_if_constant(total.any())
    return total


def _report(recording: Recording, adjoints: Tensor, seconds: float) -> dict[str, Any]:
    return {
        "stage": recording.stage.name,
        "steps": recording.recipe.steps,
        "recipe": dataclasses.asdict(recording.recipe),
        "query_gradient_norm": float(adjoints.norm(dim=1).max()),
        "recording_seconds": recording.seconds,
        "seconds": seconds,
    }
