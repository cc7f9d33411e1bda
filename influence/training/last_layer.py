"""Fit a last linear layer alone to a minimum, on its precomputed inputs: a convex problem for any size of model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.data import TensorDataset

from influence.derivatives import Objective
from influence.derivatives.eager import eager
from influence.study.copies import copied, put
from influence.study.parameters import ParameterGroups, groups_of, l2_of
from influence.study.stage import Stage
from influence.training.minimum import TOLERANCE, Trainer
from influence.training.recipe import Recipe

Report = Callable[[float], None]


def fit_head(stage: Stage, groups: ParameterGroups, device: torch.device, report: Report) -> int:
    """Fit the stage's last linear layer to a minimum, if the stage trains nothing else.

    Returns:
        The number of steps; 0 if the stage trains other parameters too.
    """
    name = lone_head(stage, groups)
    proxy = on_features(stage, name, device) if name else None
    if proxy is None:
        return 0
    found = Trainer(proxy, groups_of(proxy, None), device).fit(
        tolerance=TOLERANCE[torch.float64], iterations=2000, report=report
    )
    put(stage.model, {f"{name}.{part}": value for part, value in found.parameters.items()})
    return max(1, found.iterations)


def fitted_apart(stage: Stage, recipe: Recipe | None) -> bool:
    """Whether the stage's last layer, where it is all that is trained, is fitted on its inputs in double precision.

    Without a recipe a model in double precision reaches its minimum as it is.
    """
    return recipe is not None or next(stage.model.parameters()).dtype != torch.float64


def lone_head(stage: Stage, groups: ParameterGroups) -> str:
    """Name of the linear layer whose parameters are all that the stage trains; "" if there is no such layer."""
    for name, module in stage.model.named_modules():
        if isinstance(module, nn.Linear) and {f"{name}.{part}" for part, _ in module.named_parameters()} == set(
            groups.new
        ):
            return "" if groups.held else name
    return ""


def on_features(stage: Stage, name: str, device: torch.device) -> Stage | None:
    """The layer called `name` as a stage of its own in float64; its data are the layer's inputs.

    None if the model's output is not the layer's output, or if the loss of a batch changes when the layer's inputs
    replace the batch's first element.
    """
    model = copied(stage.model).eval().to(device)
    layer, seen = model.get_submodule(name), []
    layer.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    objective = Objective(
        stage, ParameterGroups((), (), tuple(dict(stage.model.named_parameters())), ()), device=device
    )
    features, others = [], []
    with torch.no_grad(), eager():
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
    decay = l2_of(stage)
    l2 = {part: decay[f"{name}.{part}"] for part, _ in layer.named_parameters()}
    return Stage(stage.name, layer.double(), stage.loss, TensorDataset(torch.cat(features), *rest), l2=l2)
