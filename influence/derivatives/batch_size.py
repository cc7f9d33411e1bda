"""Examples in a batch of a large network: as many as its activations leave room for, which a first batch tells.

A network of ten million parameters would get five by its gradients alone, if they were all multiplied out at once. They
hardly ever are, and products with so few rows are several times slower than with fifty.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import torch
from torch import Tensor

from influence.derivatives.objective import BATCH, BUDGET, Objective, plain_kernels

LARGE_BATCH = BATCH // 4
"""Examples in a batch of a large network, at most."""


def widen(objectives: Iterable[Objective]) -> None:
    """Raise the batch size of large networks whose size was not asked for, to `LARGE_BATCH` or as memory allows.

    A model or data that fail here will do so where it is told; till then the batch stays as it is.
    """
    for objective in objectives:
        if objective.batch_size_is_usual and objective.batch_size < LARGE_BATCH:
            # A parameter without a layer rule is multiplied out for all examples of a batch.
            widest = objective.dtype.itemsize * max(p.numel() for p in objective.parameters.values())
            with suppress(Exception):
                fits = min(2 * BUDGET // widest, BUDGET // _activations(objective), LARGE_BATCH)
                objective.batch_size = max(objective.batch_size, fits)


def _activations(objective: Objective) -> int:
    """Bytes that autograd keeps of an example, without the parameters; at least 1."""
    known = {p.untyped_storage().data_ptr() for p in objective.parameters.values()}
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        if tensor.layout == torch.strided and (place := tensor.untyped_storage().data_ptr()) not in known:
            known.add(place)
            kept += tensor.nbytes
        return tensor

    positions, batch = next(objective.batches(objective.stage.data))
    live = {name: objective.parameters[name].detach().requires_grad_() for name in objective.trained.shapes}
    examples = positions.stop - positions.start
    with plain_kernels(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor), torch.enable_grad():
        objective.losses(batch, examples, live)
    return max(1, kept // examples)
