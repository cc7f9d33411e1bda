"""Many retrainings of recorded stages side by side: the steps of all are one vectorised call.

Small networks spend their time between their layers, not in them, so that side by side a retraining costs a quarter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import vmap

from influence.derivatives import Objective, plain_kernels
from influence.errors import TrainingError
from influence.training.recording import Recording, Trajectory

RETRAININGS_AT_ONCE = 16
"""Retrainings side by side; of more, each is hardly cheaper."""

Many = dict[str, Tensor]
"""Parameters by name, one row a retraining: (R, ...)."""


def retrain_together(
    recordings: Sequence[Recording],
    stage: str,
    weights: Tensor,
    *,
    rows: int = RETRAININGS_AT_ONCE,
    advance: Callable[[int], None] | None = None,
) -> Many:
    """As `influence.retrain` for every row of `weights`, up to rounding: the same starts, seeds and order.

    Args:
        recordings: first to last, each but the first recorded from the one before it. `torch.func.vmap` must know
            all that their models do.
        stage: whose examples are weighted; the stages before it are as they were recorded.
        weights: (R, m), 0 leaves an example out.
        rows: retrainings at a time.
        advance: called with how many are done.

    Returns:
        the last stage's parameters after each retraining, by name, (R, ...), on the CPU.

    Raises:
        TrainingError: there is no recording of the stage, weights are of the wrong length, or a training is not
            finite.
    """
    names = [recording.stage.name for recording in recordings]
    if stage not in names:
        raise TrainingError(f"There is no recording of the stage {stage!r}; they are of {', '.join(names)}.")
    first = names.index(stage)
    count = len(recordings[first].weights)
    if weights.dim() != 2 or weights.shape[1] != count:
        raise TrainingError(f"Stage {stage!r}: weights have shape {tuple(weights.shape)}, expected (R, {count}).")
    found: list[Many] = []
    for part in weights.split(rows):
        given, ends = part, dict[str, Tensor]()
        for recording in recordings[first:]:
            ends = _train(recording, given, ends)
            given = torch.empty(0)  # later stages keep their weights
        found.append(ends)
        if advance:
            advance(len(part))
    return {name: torch.cat([each[name] for each in found]) for name in found[0]}


def _train(recording: Recording, weights: Tensor, before: Many) -> Many:
    """The stage's parameters after training on top of those of the stage before, row by row."""
    objective = Objective(recording.stage, recording.groups, device=recording.device)
    trajectory = Trajectory(objective, recording.recipe, recording.start)
    rows = len(weights) or len(next(iter(before.values())))
    inherited = {h: before[there] for h, there in recording.groups.inherited.items()} if before else {}
    begun = {n: inherited.get(n, t.expand(rows, *t.shape)) for n, t in recording.start.items()}
    starts = objective.trained.flatten(begun).to(trajectory.start)
    frozen = objective.frozen.flatten(begun).to(starts) if objective.frozen.size else starts[:, :0]
    weights = (weights if len(weights) else recording.weights.expand(rows, -1)).to(starts)
    state = torch.stack([recording.recipe.begin(each) for each in starts])
    for number in range(recording.recipe.steps):
        state = _step(trajectory, number, state, weights, starts, frozen)
    if not state.isfinite().all():
        raise TrainingError(
            f"Stage {recording.stage.name!r}: a training was not finite after {recording.recipe.steps} steps; lower "
            "the learning rate of its recipe."
        )
    return {n: value.cpu() for n, value in {**begun, **objective.trained.unflatten(state[:, 0])}.items()}


def _step(
    trajectory: Trajectory, number: int, state: Tensor, weights: Tensor, starts: Tensor, frozen: Tensor
) -> Tensor:
    batch, used = trajectory.batch(number), weights[:, trajectory.order[number].to(weights.device)]

    def one(state: Tensor, weights: Tensor, start: Tensor, frozen: Tensor) -> Tensor:
        return trajectory.step(number, batch, state, weights, start, frozen)

    with plain_kernels():
        return vmap(one)(state, used, starts, frozen)
