"""A stage's objective in double precision, for curvature whose smallest eigenvalues single precision does not hold."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from influence.derivatives.objective import Objective, ran_out_of_memory
from influence.errors import LossError
from influence.study.copies import copied

NOISE = 0.02
"""Rounding of a product with the curvature, as a share of the smallest eigenvalue, up to which it does no harm."""


def resolving(objective: Objective, largest: float, smallest: float) -> Objective:
    """The objective, in double precision where products in its own have errors beside the smallest eigenvalue.

    A product's rounding is machine epsilon times the largest eigenvalue. Both eigenvalues are of the damped curvature.
    Half precision stays: its models are made so for want of memory.
    """
    single = torch.finfo(torch.float32).eps
    if objective.epsilon > single or single * largest <= NOISE * smallest:
        return objective
    return in_double(objective)


def in_double(objective: Objective) -> Objective:
    """The same objective with model, parameters and data in double precision.

    It is returned as it is where it has this precision, and where the model does not run in it (a cast within
    `forward`, say).
    """
    if objective.dtype == torch.float64:
        return objective
    stage = copy.copy(objective.stage)
    forward, loss = stage.forward, stage.loss
    assert forward is not None
    stage.model = copied(stage.model).double()
    stage.forward = lambda model, batch: forward(model, doubled(batch))
    stage.loss = lambda outputs, batch: loss(outputs, doubled(batch))
    try:
        found = Objective(stage, objective.groups, device=objective.device, batch_size=objective.batch_size)
        found.parameters = {n: p.to(found.parameters[n]) for n, p in objective.parameters.items()}
        found.count, found.remarks = objective.count, objective.remarks
        positions, batch = next(found.batches(stage.data))
        with torch.no_grad():
            losses = found.losses(batch, positions.stop - positions.start)
    except (RuntimeError, TypeError, ValueError, LossError) as error:
        if ran_out_of_memory(error):
            raise
        return objective
    return found if losses.dtype == torch.float64 else objective


def doubled(batch: Any) -> Any:
    """The batch with its real tensors in double precision."""
    return pytree.tree_map_only(Tensor, lambda tensor: tensor.double() if tensor.is_floating_point() else tensor, batch)
