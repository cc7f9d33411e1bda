"""How precompute trains a stage: to a minimum where that can be had, else by mini-batches for some epochs.

Three ways. Small models go full batch to a minimum (`training.py`). Where all that a stage trains is its last linear
layer, the rest of the model is run once and the layer fitted to a minimum on what comes out: a convex problem,
whatever the size of the model. All else is trained by Adam, with the step functions of `recording.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from influence.derivatives import Objective
from influence.derivatives.first import gradient
from influence.derivatives.losses import checked_losses
from influence.errors import TrainingError
from influence.recipe import Recipe
from influence.recording import Trajectory
from influence.studies.exhibit import Exhibit
from influence.study.parameters import Groups, groups_of
from influence.study.stage import Stage, copied
from influence.training import Trainer, fit_stage

Report = Callable[[float], None]

BATCH = 128
RATE = 2e-3
KEPT = 20
"""How often a mini-batch training leaves where it stands on disk."""
TOLERANCE = {torch.float64: 1e-8}
"""Gradient norm at which a stage counts as at its minimum, for dtypes that can tell."""
COARSE = 1e-5
"""The same for all others, whose rounding is larger."""


def fit(
    stage: Stage, previous: Stage | None, recipe: Recipe | None, device: torch.device, kept: Path, report: Report
) -> dict[str, Any]:
    """Fit a stage that inherits from `previous` as that stands now, and put the result into the stage's own model.

    Args:
        stage: what to fit.
        previous: what it inherits from.
        recipe: of the mini-batches; None is full batch to a minimum.
        device: where to train.
        kept: file in which a mini-batch training leaves where it stands, to go on there after an interruption.
        report: called with the share (0..1) of the way.

    Returns:
        the record of a run's manifest: gradient norm, objective, iterations, whether it converged, seconds.

    Raises:
        TrainingError: the training does not stay finite.
    """
    if recipe is None:
        return fit_stage(stage, previous, report=report).record()
    began, groups = time.perf_counter(), groups_of(stage, previous)
    _inherit(stage, previous, groups)
    steps = _fit_head(stage, groups, device, report)
    if not steps:
        steps = _by_batches(stage, groups, recipe, device, kept, report)
    return {**standing(stage, previous, device), "iterations": steps, "seconds": time.perf_counter() - began}


def standing(stage: Stage, previous: Stage | None, device: torch.device, halvings: int = 0) -> dict[str, Any]:
    """How far from a minimum of its objective a stage stands, in the form of a training that did nothing."""
    began = time.perf_counter()
    objective = Objective(stage, groups_of(stage, previous), device=device, halvings=halvings)
    point = objective.trained.flatten(objective.parameters)
    before = dict(previous.model.named_parameters()) if previous else {}
    slope = gradient(objective) + stage.l2 * point
    value = float(checked_losses(objective, stage.data).double().mean()) + stage.l2 / 2 * float(point.square().sum())
    for name in objective.groups.held:
        origin = before[objective.groups.inherited[name]].detach().to(objective.device)
        moved = (objective.parameters[name] - origin).flatten()
        slope[objective.trained.slices[name]] += 2 * stage.proximity * moved
        value += stage.proximity * float(moved.square().sum())
    norm = float(slope.norm())
    return {
        "gradient_norm": norm,
        "objective": value,
        "iterations": 0,
        "converged": norm <= TOLERANCE.get(objective.dtype, COARSE),
        "seconds": time.perf_counter() - began,
    }


def _inherit(stage: Stage, previous: Stage | None, groups: Groups) -> None:
    before = dict(previous.model.named_parameters()) if previous else {}
    here = dict(stage.model.named_parameters())
    with torch.no_grad():
        for name, origin in groups.inherited.items():
            here[name].copy_(before[origin])


def usual_recipe(count: int, epochs: int, seed: int) -> Recipe:
    """So many passes over `count` examples by Adam."""
    batch = min(BATCH, count)
    steps = epochs * math.ceil(count / batch)
    return Recipe(
        steps, batch, RATE, optimiser="adam", eps_root=1e-12, warmup=min(steps, steps // 20 + 1), decay=True, seed=seed
    )


def recipe_of(exhibit: Exhibit, stage: Stage) -> Recipe | None:
    """How a stage of an exhibit is trained by mini-batches; None: full batch to a minimum."""
    usual = usual_recipe(len(stage.data), exhibit.epochs, exhibit.seed) if exhibit.epochs else None
    return exhibit.recipes.get(stage.name, usual)


def _by_batches(stage: Stage, groups: Groups, recipe: Recipe, device: torch.device, kept: Path, report: Report) -> int:
    """Train the stage's model from where it stands; the number of steps."""
    objective = Objective(stage, groups, device=device)
    trajectory = Trajectory(objective, recipe, objective.parameters)
    state, begun = recipe.begin(trajectory.start), 0
    if kept.is_file():
        found = safetensors.torch.load_file(kept, device=str(device))
        state, begun = found["state"], int(found["steps"])
        trajectory.start = found["start"]
    weights = torch.ones(objective.count, dtype=trajectory.start.dtype, device=device)
    states = trajectory.states(state, range(begun, recipe.steps), weights)
    for done, state in enumerate(states, begun + 1):
        report(done / recipe.steps)
        if done % math.ceil(recipe.steps / KEPT) == 0 or done == recipe.steps:
            if not state.isfinite().all():
                raise TrainingError(
                    f"Stage {stage.name!r}: the training was not finite any more after {done} steps; check its losses."
                )
            _keep(kept, {"state": state, "start": trajectory.start, "steps": torch.tensor(done)})
    _put(stage.model, objective.trained.unflatten(state[0]))
    return recipe.steps


def _keep(path: Path, tensors: dict[str, Tensor]) -> None:
    part = path.with_suffix(".part")
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part)
    part.replace(path)


def _put(model: nn.Module, values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in values:
                parameter.copy_(values[name])


# A last linear layer alone


def _fit_head(stage: Stage, groups: Groups, device: torch.device, report: Report) -> int:
    """Fit the stage's last linear layer to a minimum, if that is all it trains; the number of steps, 0 if it is not."""
    name = lone_head(stage, groups)
    proxy = on_features(stage, name, device) if name else None
    if proxy is None:
        return 0
    found = Trainer(proxy, groups_of(proxy, None), device).fit(
        tolerance=TOLERANCE[torch.float64], iterations=2000, report=report
    )
    _put(stage.model, {f"{name}.{part}": value for part, value in found.parameters.items()})
    return max(1, found.iterations)


def lone_head(stage: Stage, groups: Groups) -> str:
    """Name of the linear layer whose parameters are all that the stage trains, or nothing."""
    for name, module in stage.model.named_modules():
        if isinstance(module, nn.Linear) and {f"{name}.{part}" for part, _ in module.named_parameters()} == set(
            groups.new
        ):
            return "" if groups.held else name
    return ""


def on_features(stage: Stage, name: str, device: torch.device) -> Stage | None:
    """The layer called `name` as a stage of its own in float64, on its inputs.

    None where the model's output is not the layer's, or the batches or the loss are not of a form in which the inputs
    can stand in for the examples.
    """
    model = copied(stage.model).eval().to(device)
    layer, seen = model.get_submodule(name), []
    layer.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    objective = Objective(stage, Groups((), (), tuple(dict(stage.model.named_parameters())), ()), device=device)
    features, others = [], []
    with torch.no_grad():
        for _, batch in objective.batches(stage.data):
            seen.clear()
            outputs = stage.forward(model, batch)  # type: ignore[misc]
            if not (isinstance(batch, tuple | list) and len(seen) == 1 and seen[0][1] is outputs):
                return None
            given = [seen[0][0], *batch[1:]]
            if seen[0][0].dim() != 2 or not torch.equal(stage.loss(outputs, batch), stage.loss(outputs, given)):
                return None
            features.append(seen[0][0].double())
            others.append(batch[1:])
    rest = [torch.cat(parts) for parts in zip(*others, strict=True)]
    layer._forward_hooks.clear()
    return Stage(stage.name, layer.double(), stage.loss, TensorDataset(torch.cat(features), *rest), l2=stage.l2)
