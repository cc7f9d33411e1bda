"""First derivatives of single examples, as whole gradient vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap

from influence.derivatives.objective import Objective, as_examples, example_dims, plain_kernels
from influence.parameters import Layout
from influence.study import Loss


def example_gradients(
    objective: Objective, data: Any, layout: Layout, loss: Loss | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """(positions, per-example gradients (B, P)) over the parameters of `layout`, batch by batch."""
    here = {n: objective.parameters[n] for n in layout.shapes}
    for positions, batch in objective.batches(data):
        with plain_kernels():
            gradients = _batch_gradients(objective, here, batch, positions.stop - positions.start, loss)
        flat = layout.flatten(gradients).detach()
        # What follows sums over many of them, for which half precision has too few digits.
        yield positions, flat.to(torch.promote_types(flat.dtype, torch.float32))


def _batch_gradients(
    objective: Objective, here: dict[str, Tensor], batch: Any, count: int, loss: Loss | None
) -> dict[str, Tensor]:
    def one(p: dict[str, Tensor], example: Any) -> Tensor:
        return objective.losses(example, 1, p, loss)[0]

    if objective.separable(batch, count, loss):
        try:
            return vmap(grad(one), in_dims=(None, example_dims(batch, count)))(here, as_examples(batch, count))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            objective.note_loop()
    return _looped_gradients(objective, here, batch, count, loss)


def _looped_gradients(
    objective: Objective, here: dict[str, Tensor], batch: Any, count: int, loss: Loss | None
) -> dict[str, Tensor]:
    live = {n: p.clone().requires_grad_() for n, p in here.items()}
    values = objective.losses(batch, count, live, loss)
    rows = [torch.autograd.grad(value, list(live.values()), retain_graph=True, allow_unused=True) for value in values]
    return {
        n: torch.stack([row[i] if row[i] is not None else torch.zeros_like(p) for row in rows])
        for i, (n, p) in enumerate(live.items())
    }


def gradient(objective: Objective) -> Tensor:
    """Gradient (P,) of the data term (mean loss) over the trained parameters."""
    total = torch.zeros(objective.trained.size, dtype=objective.sum_dtype, device=objective.device)
    here = {n: objective.parameters[n] for n in objective.trained.shapes}
    with plain_kernels():
        for positions, batch in objective.batches(objective.stage.data):
            count = positions.stop - positions.start
            total += objective.trained.flatten(
                grad(lambda p, b=batch, c=count: objective.losses(b, c, p).sum())(here)
            ).detach()
    return total / objective.count
