"""A loss that is linear in what the model returns has no Gauss-Newton matrix: whoever solves with it is warned."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Subset

from influence.derivatives.objective import Objective, plain_kernels
from influence.derivatives.second.outputs import OutputLoss

FEW = 8
"""Examples that are enough to see that a loss is not linear."""


def warn_if_linear(objective: Objective) -> None:
    """Warn of outputs that no loss of the stage is curved in. Reads a few examples, and all where these are flat."""
    data = objective.stage.data
    if not _linear(objective, Subset(data, range(min(FEW, len(data))))):
        return
    linear = _linear(objective, data)
    if not linear:
        return
    stage = objective.stage.name
    if all(linear.values()):
        objective.remarks.warn(
            f"{stage}: the loss is linear in what the model returns, so its Gauss-Newton matrix is 0. The only "
            "curvature is that of l2 and damping: the size of the scores means nothing. Let the model return what the "
            "loss is curved in (logits in place of a probability's logarithm), or use curvature='hessian'",
            order_only=True,
        )
    else:
        places = ", ".join(str(place) for place in sorted(place for place, flat in linear.items() if flat))
        objective.remarks.warn(
            f"{stage}: the loss is linear in a part of what the model returns (tensor {places}, counted from 0), which "
            "the Gauss-Newton matrix has nothing of. Let the model return what the loss is curved in, or use "
            "curvature='hessian'"
        )


def _linear(objective: Objective, data: Any) -> dict[int, bool]:
    """Output tensors that a loss depends on -> whether no loss is curved in it; empty if all losses are curved."""
    found: dict[int, bool] = {}
    for _, batch in objective.batches(data):
        with torch.no_grad(), plain_kernels():
            outputs = objective.outputs(batch)
        curve = OutputLoss(objective, outputs, batch)
        for place, gradient, flat in zip(curve.places, curve.output_gradients, curve.flat(), strict=True):
            if not flat or bool(gradient.any()):
                found[place] = found.get(place, True) and flat
        if found and not any(found.values()):
            return {}
    return found
