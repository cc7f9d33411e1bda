"""Trains a stage by mini-batches and records it, so that the training can be repeated and differentiated step by step.

Unlike `minimum.py`, it trains for the number of steps of the recipe, to no minimum. `replay.py` differentiates through
the recorded steps.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import grad
from torch.utils.data import TensorDataset, default_collate

from influence.derivatives import Objective, plain_kernels
from influence.derivatives.batches import on_device
from influence.derivatives.modes import callers_modes_off
from influence.errors import StudyError, TrainingError
from influence.study.copies import put
from influence.study.edits import Edit
from influence.study.parameters import ParameterGroups, groups_of
from influence.study.revision import revised
from influence.study.stage import Stage
from influence.study.study import Study
from influence.training.recipe import Recipe
from influence.training.refusals import refuse_more_examples, refuse_not_finite, refuse_wrong_length


@dataclass(eq=False)
class Recording:
    """A finished training, with everything that is needed to repeat it. Its tensors are on the CPU.

    Attributes:
        stage: the stage that was trained. Its model is unchanged until `apply`.
        groups: its inherited, frozen and new parameters.
        recipe: how it was trained.
        weights: (m,), of the examples.
        start: name -> value of all parameters before the first step; inherited ones have their inherited values.
        checkpoints: number of finished steps -> optimiser state (K, T): about sqrt(steps) of them, and the end.
        parameters: name -> value of all parameters after the last step.
        device: where it was trained; on other devices the last bits may differ.
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
        """Write the trained parameters into the stage's own model.

        A later `record` of the stage begins from them; `retrain` begins from this training's own start.
        """
        put(self.stage.model, self.parameters)


class Trajectory:
    """The optimiser steps of one stage as pure functions, for recording and for replaying.

    Args:
        objective: the stage's.
        recipe: how it is trained.
        start: name -> value of all its parameters before the first step.

    Attributes:
        start: (T,), the trained parameters before the first step; also the centre of the proximity term.
        frozen: (F,), the inherited parameters that are not trained.
    """

    def __init__(self, objective: Objective, recipe: Recipe, start: Mapping[str, Tensor]):
        self.objective, self.recipe = objective.at(dict(start)), recipe
        # Data sets of examples of different length may have `lengths`.
        self.order = recipe.order(objective.count, getattr(objective.stage.data, "lengths", None))
        self.start = objective.trained.flatten(self.objective.parameters)
        self.frozen = objective.frozen.flatten(self.objective.parameters)
        self._l2, self._proximity = objective.l2.to(self.start), objective.proximity.to(self.start)

    def batch(self, number: int) -> Any:
        """The examples of a step, on the device."""
        stage, positions = self.objective.stage, self.order[number]
        if type(stage.data) is TensorDataset and stage.collate is None:
            # The default collate would index and stack every example: indexing once is much faster.
            batch = [tensor[positions.to(tensor.device)] for tensor in stage.data.tensors]
        else:
            batch = (stage.collate or default_collate)([stage.data[position] for position in positions.tolist()])
        return on_device(batch, self.objective.device)

    def step(self, number: int, batch: Any, state: Tensor, weights: Tensor, start: Tensor, frozen: Tensor) -> Tensor:
        """The state (K, T) after a step from `state`, with `weights` (B,) of the batch's examples.

        The gradient is that of the stage's objective on the batch,
        sum_z weight_z loss_z / B + 1/2 sum_i l2_i theta_i^2 + proximity |P - P_inherited|^2. Weight 0 leaves an example
        out.
        """
        objective = self.objective

        def value(point: Tensor) -> Tensor:
            parameters = {**objective.frozen.unflatten(frozen), **objective.trained.unflatten(point)}
            losses = objective.losses(batch, len(weights), parameters)
            terms = (self._l2 / 2 * point.square() + self._proximity * (point - start).square()).sum()
            return (weights * losses).sum() / len(weights) + terms

        return self.recipe.update(number, state, grad(value)(state[0]))

    def states(self, state: Tensor, steps: range, weights: Tensor) -> Iterator[Tensor]:
        """The state after each of `steps`, starting at `state`, with `weights` (m,) of all examples."""
        for number in steps:
            with plain_kernels():
                used = weights[self.order[number].to(weights.device)]
                state = self.step(number, self.batch(number), state, used, self.start, self.frozen)
            yield state


@callers_modes_off()
def record(
    stage: Stage,
    previous: Stage | Recording | None,
    recipe: Recipe,
    *,
    weights: Tensor | None = None,
    device: torch.device | str | None = None,
    report: Callable[[float], None] | None = None,
) -> Recording:
    """Train a stage from its inherited parameters, and from its model's own values for new ones.

    The model is in evaluation mode (no dropout, running statistics), as everywhere. The stage's model is not changed:
    `Recording.apply` writes the result into it.

    Args:
        stage: what to train.
        previous: the stage that it inherits from, with its model's present parameters, or that stage's recording; None
            for the first stage.
        recipe: how to train.
        weights: (m,), default all 1. Weight 0 leaves an example out; batches and denominators stay the same.
        device: where to train; default the device of the stage's model.
        report: called with the finished share (0..1) of the steps.

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


@callers_modes_off()
def retrain(
    recordings: Sequence[Recording],
    weights: Mapping[str, Tensor] | None = None,
    *,
    edits: Edit | Sequence[Edit] | None = None,
) -> list[Recording]:
    """Repeat the trainings of consecutive stages with other weights or data, but the same starts, seeds and order.

    Args:
        recordings: first to last, each but the first recorded from the one before it.
        weights: stage -> weights (m,) of its examples. Stages that are not named keep their weights.
        edits: of the training data, in place of weights. What comes in for an example stands in its place, and so in
            its batches.

    Raises:
        TrainingError: as `record`; weights of a stage without a recording; or edits that add examples, with which all
            batches would change.
        StudyError: both weights and edits are given, or as `edit_effect`.
    """
    if edits is not None:
        if weights:
            raise StudyError("Both weights and edits are given; a weight is an edit: edits.upweight.")
        recordings, weights = _revised(recordings, edits)
    weights = weights or {}
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


def _revised(
    recordings: Sequence[Recording], edits: Edit | Sequence[Edit]
) -> tuple[list[Recording], dict[str, Tensor]]:
    """The recordings with edited data, and the weights of the examples of edited stages."""
    stages = [each.stage for each in recordings]
    study, weights = revised(Study("recorded", stages, stages[-1].data), edits)
    for old, after in zip(recordings, study.stages, strict=True):
        refuse_more_examples(after, len(old.stage.data))
        if after.name in weights:
            weights[after.name] = weights[after.name] * old.weights
    return [dataclasses.replace(r, stage=s) for r, s in zip(recordings, study.stages, strict=True)], weights


def _inherited(
    groups: ParameterGroups, start: Mapping[str, Tensor], previous: Stage | Recording | None
) -> dict[str, Tensor]:
    """Copies of the inherited parameters, by their name and in their dtype in this stage."""
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
    refuse_wrong_length(objective, weights)
    weights = torch.ones(objective.count) if weights is None else weights.detach().clone().cpu()
    trajectory = Trajectory(objective, recipe, start)
    weights = weights.to(trajectory.start.dtype)
    begin = recipe.begin(trajectory.start)
    checkpoints, every = {0: begin.cpu()}, math.isqrt(recipe.steps - 1) + 1
    states = trajectory.states(begin, range(recipe.steps), weights.to(device))
    for done, state in enumerate(states, 1):
        if done % every == 0 or done == recipe.steps:
            refuse_not_finite(stage.name, state, done)
            checkpoints[done] = state.cpu()
        if report:
            report(done / recipe.steps)
    trained = objective.trained.unflatten(checkpoints[recipe.steps][0])
    parameters = {**start, **{name: value.clone() for name, value in trained.items()}}
    seconds = time.perf_counter() - began
    return Recording(stage, groups, recipe, weights, start, checkpoints, parameters, device, seconds)
