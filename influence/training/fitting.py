"""How precompute trains a stage: to a minimum where possible, else by mini-batches.

There are three ways. If a stage trains its last linear layer only, the rest of the model runs once, and the layer is
fitted to a minimum on the outputs (`last_layer.py`). Without a recipe stages are trained full batch to a minimum
(`minimum.py`), in double precision also such a layer. Everything else is trained by Adam, with the step functions of
`recording.py`.
"""

from __future__ import annotations

import hashlib
import math
import time
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from influence.derivatives import Objective
from influence.derivatives.first.gradients import objective_gradient
from influence.derivatives.losses import value
from influence.run.plain import replacement
from influence.study.copies import put
from influence.study.parameters import ParameterGroups, groups_of
from influence.study.stage import Stage
from influence.training.last_layer import Report, fit_head, fitted_apart
from influence.training.minimum import fit_stage, tolerance_of
from influence.training.recipe import Recipe
from influence.training.recording import Trajectory
from influence.training.refusals import refuse_not_finite

CHECKPOINTS = 20
"""Number of checkpoints that a mini-batch training writes to disk."""


def fit(
    stage: Stage, previous: Stage | None, recipe: Recipe | None, device: torch.device, kept: Path, report: Report
) -> dict[str, Any]:
    """Train a stage from the parameters that it inherits, and write the result into the stage's own model.

    Args:
        stage: what to train.
        previous: the stage that it inherits from, with its model's present parameters.
        recipe: of the mini-batches; None trains full batch to a minimum.
        device: where to train.
        kept: checkpoint file of a mini-batch training. If it is there as it was written, training resumes from it.
        report: called with the finished share (0..1).

    Returns:
        The stage's entry in a run's manifest: gradient_norm, objective, iterations, converged, seconds, by_steps.

    Raises:
        TrainingError: the parameters are not finite any more.
    """
    began, groups = time.perf_counter(), groups_of(stage, previous)
    steps = 0
    if fitted_apart(stage, recipe):
        _inherit(stage, previous, groups)
        steps = fit_head(stage, groups, device, report)
    by_steps = not steps and recipe is not None
    if by_steps:
        assert recipe is not None
        steps = _by_batches(stage, groups, recipe, device, kept, report)
    elif not steps:
        return {**fit_stage(stage, previous, report=report).record(), "by_steps": False}
    seconds = time.perf_counter() - began
    return {**standing(stage, previous, device), "iterations": steps, "seconds": seconds, "by_steps": by_steps}


def standing(stage: Stage, previous: Stage | None, device: torch.device, halvings: int = 0) -> dict[str, Any]:
    """Gradient norm and objective at the model's parameters, in the same dict that `fit` returns."""
    began = time.perf_counter()
    objective = Objective(stage, groups_of(stage, previous), device=device, halvings=halvings)
    before = dict(previous.model.named_parameters()) if previous else {}
    norm = float(objective_gradient(objective, before).norm())
    return {
        "gradient_norm": norm,
        "objective": value(objective, before),
        "iterations": 0,
        "converged": norm <= tolerance_of(objective.dtype),
        "seconds": time.perf_counter() - began,
    }


def _inherit(stage: Stage, previous: Stage | None, groups: ParameterGroups) -> None:
    before = dict(previous.model.named_parameters()) if previous else {}
    here = dict(stage.model.named_parameters())
    with torch.no_grad():
        for name, origin in groups.inherited.items():
            here[name].copy_(before[origin])


def _by_batches(
    stage: Stage, groups: ParameterGroups, recipe: Recipe, device: torch.device, kept: Path, report: Report
) -> int:
    """Train the stage's model from its present parameters, or from the checkpoint. Returns the number of steps."""
    objective = Objective(stage, groups, device=device)
    trajectory = Trajectory(objective, recipe, objective.parameters)
    state, begun = recipe.begin(trajectory.start), 0
    found = _kept(kept, stage)
    if found is not None:
        state, begun = found["state"].to(device), int(found["steps"])
        trajectory.start = found["start"].to(device)
    weights = torch.ones(objective.count, dtype=trajectory.start.dtype, device=device)
    states = trajectory.states(state, range(begun, recipe.steps), weights)
    for done, state in enumerate(states, begun + 1):
        report(done / recipe.steps)
        if done % math.ceil(recipe.steps / CHECKPOINTS) == 0 or done == recipe.steps:
            refuse_not_finite(stage.name, state, done)
            _keep(kept, stage, {"state": state, "start": trajectory.start, "steps": torch.tensor(done)})
    put(stage.model, objective.trained.unflatten(state[0]))
    return recipe.steps


def _keep(path: Path, stage: Stage, tensors: dict[str, Tensor]) -> None:
    contents = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})
    with replacement(path) as new, new.open("wb") as file:
        file.write(_digest(stage, contents))
        file.write(contents)


def _kept(path: Path, stage: Stage) -> dict[str, Tensor] | None:
    """What `_keep` wrote for this stage; None if it is not there, or not as it was written."""
    try:
        said = path.read_bytes()
    except FileNotFoundError:
        return None
    length = hashlib.sha256().digest_size
    digest, contents = said[:length], said[length:]
    return safetensors.torch.load(contents) if digest == _digest(stage, contents) else None


def _digest(stage: Stage, contents: bytes) -> bytes:
    digest = hashlib.sha256(stage.name.encode())
    digest.update(contents)
    return digest.digest()
