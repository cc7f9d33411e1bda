"""Trains a stage by mini-batches so that the very same training can be repeated, and differentiated, step by step.

Other than `minimum.py` this asks for no minimum: a stage is trained for as long as its recipe says. `replay.py` runs
the recording backwards.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import grad
from torch.utils import _pytree as pytree
from torch.utils.data import TensorDataset, default_collate

from influence.derivatives import Objective, plain_kernels
from influence.errors import TrainingError
from influence.study.parameters import ParameterGroups, groups_of
from influence.study.stage import Stage
from influence.training.recipe import Recipe


@dataclass(eq=False)
class Recording:
    """A training that really happened, with all that it takes to repeat it. Its tensors are on the CPU.

    Attributes:
        stage: what was trained. Its model is as it was, until `apply`.
        groups: what the stage inherited, froze and trained.
        recipe: how.
        weights: of the examples, (m,).
        start: all parameters of the model before the first step, by name; inherited ones at their inherited values.
        checkpoints: optimiser states (K, T) by the number of steps before them: about sqrt(steps), and the end.
        parameters: all parameters after the last step.
        device: where it was trained; elsewhere the last bits may differ.
        seconds: wall time.
    """

    stage: Stage
    groups: ParameterGroups
    recipe: Recipe
    weights: Tensor
    start: dict[str, Tensor]
    checkpoints: dict[int, Tensor]
    parameters: dict[str, Tensor]
    device: torch.device
    seconds: float

    def __repr__(self) -> str:
        return f"Recording({self.stage.name!r}, {self.recipe.steps} steps of {self.recipe.optimiser})"

    def apply(self) -> None:
        """Put the trained parameters into the stage's own model.

        Another `record` would begin there; `retrain` begins where this training did.
        """
        with torch.no_grad():
            for name, parameter in self.stage.model.named_parameters():
                parameter.copy_(self.parameters[name])


class Trajectory:
    """The optimiser steps of one stage as pure functions, the same for whoever records and whoever replays.

    Args:
        objective: the stage's.
        recipe: how it is trained.
        start: all of its parameters before the first step, by name.

    Attributes:
        start: those that are trained, (T,), which for inherited ones is also where proximity holds them.
        frozen: those that are inherited and not trained, (F,).
    """

    def __init__(self, objective: Objective, recipe: Recipe, start: Mapping[str, Tensor]):
        self.objective, self.recipe = objective.at(dict(start)), recipe
        # Data sets that know how long their examples are say so, as samplers for such data ask for.
        self.order = recipe.order(objective.count, getattr(objective.stage.data, "lengths", None))
        self.start = objective.trained.flatten(self.objective.parameters)
        self.frozen = objective.frozen.flatten(self.objective.parameters)
        self._held = torch.zeros_like(self.start)
        for name in objective.groups.held:
            self._held[objective.trained.slices[name]] = objective.stage.proximity

    def batch(self, number: int) -> Any:
        """The examples of a step, on the device."""
        stage, positions = self.objective.stage, self.order[number]
        if type(stage.data) is TensorDataset and stage.collate is None:
            # What the default collate would stack again example by example.
            batch = [tensor[positions.to(tensor.device)] for tensor in stage.data.tensors]
        else:
            batch = (stage.collate or default_collate)([stage.data[position] for position in positions.tolist()])
        return pytree.tree_map_only(Tensor, lambda tensor: tensor.to(self.objective.device), batch)

    def step(self, number: int, batch: Any, state: Tensor, weights: Tensor, start: Tensor, frozen: Tensor) -> Tensor:
        """The state (K, T) after a step from `state`, `weights` (B,) being those of the batch's examples.

        The step follows the gradient of the stage's objective with the batch in place of all data:
        sum_z weight_z loss_z / B + l2/2 |theta|^2 + proximity |P - P_inherited|^2. Weight 0 leaves an example out.
        """
        objective = self.objective

        def value(point: Tensor) -> Tensor:
            parameters = {**objective.frozen.unflatten(frozen), **objective.trained.unflatten(point)}
            losses = objective.losses(batch, len(weights), parameters)
            away = (self._held * (point - start).square()).sum()
            return (weights * losses).sum() / len(weights) + objective.stage.l2 / 2 * point.square().sum() + away

        return self.recipe.update(number, state, grad(value)(state[0]))

    def states(self, state: Tensor, steps: range, weights: Tensor) -> Iterator[Tensor]:
        """The states after each of `steps`, the first of which begins at `state`; `weights` are all examples', (m,)."""
        for number in steps:
            with plain_kernels():
                used = weights[self.order[number].to(weights.device)]
                state = self.step(number, self.batch(number), state, used, self.start, self.frozen)
            yield state


def record(
    stage: Stage,
    previous: Stage | Recording | None,
    recipe: Recipe,
    *,
    weights: Tensor | None = None,
    device: torch.device | str | None = None,
    report: Callable[[float], None] | None = None,
) -> Recording:
    """Train a stage from the parameters that it inherits, and its model's own for those that are new.

    Dropout and batch statistics are taken as in evaluation mode, as everywhere. Nothing is put into the stage's model:
    `Recording.apply` does that.

    Args:
        stage: what to train.
        previous: the stage that it inherits from, as its model stands now, or that stage's recording; None: the first.
        recipe: how.
        weights: (m,), default all 1; 0 leaves an example out, in the same batches and with the same denominators.
        device: where to train; default the device of the stage's model.
        report: called with the share (0..1) of the steps that are done.

    Raises:
        TrainingError: weights of the wrong length, a batch larger than the data, or an objective that is not finite.
        StudyError, LossError: the stage or its loss is described inconsistently.
    """
    before = previous.stage if isinstance(previous, Recording) else previous
    groups = groups_of(stage, before)
    start = {name: parameter.detach().clone().cpu() for name, parameter in stage.model.named_parameters()}
    start |= _inherited(groups, start, previous)
    place = next(stage.model.parameters()).device if device is None else torch.device(device)
    return _train(stage, groups, recipe, start, weights, place, report)


def retrain(recordings: Sequence[Recording], weights: Mapping[str, Tensor]) -> list[Recording]:
    """Repeat the trainings of stages that follow each other with other weights: the same starts, seeds and order.

    Args:
        recordings: first to last, each but the first recorded from the one before it.
        weights: of a stage's examples, (m,), by the stage's name; stages that are not named keep theirs.

    Raises:
        TrainingError: as `record`, or weights of a stage of which there is no recording.
    """
    unknown = weights.keys() - {each.stage.name for each in recordings}
    if unknown:
        raise TrainingError(f"There is no recording of the stage {min(unknown)!r}, whose weights were given.")
    done: list[Recording] = []
    for old in recordings:
        same = old.stage.name not in weights and all(new in recordings for new in done)
        if same:
            done.append(old)
            continue
        start = old.start | (_inherited(old.groups, old.start, done[-1]) if done else {})
        given = weights.get(old.stage.name, old.weights)
        done.append(_train(old.stage, old.groups, old.recipe, start, given, old.device, None))
    return done


def _inherited(
    groups: ParameterGroups, start: Mapping[str, Tensor], previous: Stage | Recording | None
) -> dict[str, Tensor]:
    """The inherited parameters by name here, as copies in the dtype that they have here."""
    if previous is None:
        return {}
    there = previous.parameters if isinstance(previous, Recording) else dict(previous.model.named_parameters())
    return {
        here: there[origin].detach().to("cpu", start[here].dtype, copy=True)
        for here, origin in groups.inherited.items()
    }


def _train(
    stage: Stage,
    groups: ParameterGroups,
    recipe: Recipe,
    start: dict[str, Tensor],
    weights: Tensor | None,
    device: torch.device,
    report: Callable[[float], None] | None,
) -> Recording:
    began = time.perf_counter()
    objective = Objective(stage, groups, device=device)
    weights = torch.ones(objective.count) if weights is None else weights.detach().clone().cpu()
    if weights.shape != (objective.count,):
        raise TrainingError(
            f"Stage {stage.name!r}: weights have shape {tuple(weights.shape)}, expected ({objective.count},)."
        )
    trajectory = Trajectory(objective, recipe, start)
    weights = weights.to(trajectory.start.dtype)
    begin = recipe.begin(trajectory.start)
    checkpoints, every = {0: begin.cpu()}, math.isqrt(recipe.steps - 1) + 1
    states = trajectory.states(begin, range(recipe.steps), weights.to(device))
    for done, state in enumerate(states, 1):
        if done % every == 0 or done == recipe.steps:
            _refuse_not_finite(stage, state, done)
            checkpoints[done] = state.cpu()
        if report:
            report(done / recipe.steps)
    trained = objective.trained.unflatten(checkpoints[recipe.steps][0])
    parameters = {**start, **{name: value.clone() for name, value in trained.items()}}
    seconds = time.perf_counter() - began
    return Recording(stage, groups, recipe, weights, start, checkpoints, parameters, device, seconds)


def _refuse_not_finite(stage: Stage, state: Tensor, done: int) -> None:
    if not state.isfinite().all():
        raise TrainingError(
            f"Stage {stage.name!r}: the training was not finite any more after {done} steps; check its losses, or "
            "lower the learning rate."
        )
