"""Per-example gradients of a stage's loss as vectors, and the gradient of its mean loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from influence.derivatives.first.factors import Factors
from influence.derivatives.first.watch import Watch
from influence.derivatives.objective import BUDGET, Objective, plain_kernels
from influence.study.layout import Layout
from influence.study.stage import Loss


def example_gradients(
    objective: Objective, data: Any, layout: Layout, loss: Loss | None = None, watch: Watch | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """(positions in `data`, per-example gradients (B, P)) over the parameters of `layout`, some examples at a time.

    `loss` replaces the stage's loss, by the queries' measure say. B is small enough that the gradients fit `BUDGET`.
    `watch` is one of the same objective, layout and loss that has seen such examples before.
    """
    watch = watch or Watch(objective, layout, loss)
    rows = max(1, BUDGET // (objective.sum_dtype.itemsize * layout.size))
    for positions, batch in objective.batches(data):
        count = positions.stop - positions.start
        factors = watch.factors(batch, count)
        for start in range(0, count, rows):
            part = slice(start, min(start + rows, count))
            yield slice(positions.start + start, positions.start + part.stop), formed(objective, layout, factors, part)


def formed(objective: Objective, layout: Layout, factors: Factors, part: slice) -> Tensor:
    """The gradients (n, P) of the examples `part` of a batch, multiplied out from its factors."""
    found = torch.zeros(part.stop - part.start, layout.size, dtype=objective.sum_dtype, device=objective.device)
    for name, several in factors.items():
        for factor in several:
            found[:, layout.slices[name]] += factor[part].gradients()
    return found


def without_specks(vectors: Tensor) -> Tensor:
    """Vectors (Q, P) with entries smaller than eps^2 times the row's largest entry set to 0.

    Such entries are too small to change a product. But solves leave denormal numbers, which CPUs multiply many times
    more slowly.
    """
    largest = vectors.abs().amax(1, keepdim=True)
    return vectors.where(vectors.abs() > torch.finfo(vectors.dtype).eps ** 2 * largest, 0)


def objective_gradient(objective: Objective, before: Mapping[str, Tensor]) -> Tensor:
    """Gradient (T,) of the whole objective, nats per unit of parameter; 0 at a minimum.

    The data term's gradient + l2 theta + 2 alpha (P - where P was inherited from).

    Args:
        objective: at the parameters in question.
        before: the previous stage's parameters by name; empty for the first stage.
    """
    terms = objective.l2 * objective.trained.flatten(objective.parameters)
    return gradient(objective) + terms + 2 * objective.stage.proximity * objective.displacement(before)


def gradient(objective: Objective, loss: Loss | None = None) -> Tensor:
    """Gradient (P,) of the data term (mean loss) over the trained parameters. `loss` replaces the stage's loss."""
    return summed_gradient(objective, objective.stage.data, loss=loss) / objective.count


def summed_gradient(objective: Objective, data: Any, weights: Tensor | None = None, loss: Loss | None = None) -> Tensor:
    """Gradient (T,) of the sum of the losses of `data`, each times its weight of `weights` (n,), default 1."""
    total = torch.zeros(objective.trained.size, dtype=objective.sum_dtype, device=objective.device)
    here = {n: objective.parameters[n].detach().clone().requires_grad_() for n in objective.trained.shapes}
    with plain_kernels(), torch.enable_grad():
        for positions, batch in objective.batches(data):
            losses = objective.losses(batch, positions.stop - positions.start, here, loss)
            value = losses.sum() if weights is None else (losses * weights[positions].to(losses)).sum()
            if value.requires_grad:
                rows = torch.autograd.grad(value, list(here.values()), allow_unused=True, materialize_grads=True)
                total += objective.trained.flatten(dict(zip(here, rows, strict=True)))
    return total
