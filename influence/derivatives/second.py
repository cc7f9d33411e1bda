"""Second derivatives of a stage's mean loss, by reverse mode only: products with vectors, and the dense Hessian.

The terms that are not data, l2 and proximity, are the objective's `ridge`, for the solver to add.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap
from torch.utils import _pytree as pytree

from influence.derivatives.objective import BUDGET, Objective, plain_kernels, ran_out_of_memory
from influence.parameters import Layout


def hessian_product(objective: Objective, vectors: Tensor) -> Tensor:
    """H_TT V of the mean loss, by double backprop: (Q, T) -> (Q, T)."""
    return _second(objective, vectors, objective.trained)


def mixed_product(objective: Objective, vectors: Tensor) -> Tensor:
    """H_FT V of the mean loss, exact, by double backprop: (Q, T) -> (Q, F)."""
    if not objective.frozen.size:
        return vectors.new_zeros(len(vectors), 0)
    return _second(objective, vectors, objective.frozen)


def _second(objective: Objective, vectors: Tensor, rows: Layout) -> Tensor:
    """(d/d rows) (d/d trained . v) of the mean loss, for every row v of `vectors`."""
    if len(vectors) > objective.trained.size:
        # More vectors than dimensions: apply the map to the basis once, then multiply.
        return vectors @ _second(objective, basis(objective), rows).to(vectors)
    point = {n: objective.parameters[n] for n in {**objective.trained.shapes, **rows.shapes}}

    def products(batch: Any, count: int) -> Callable[[Tensor], Tensor]:
        def total(p: dict[str, Tensor]) -> Tensor:
            return objective.losses(batch, count, p).sum()

        pull = vjp(lambda p: objective.trained.flatten(grad(total)(p)), point)[1]
        return lambda v: rows.flatten(pull(v)[0])

    return _summed(objective, point, products, vectors, rows.size) / objective.count


def ggn_product(objective: Objective, vectors: Tensor) -> Tensor:
    """Generalised Gauss-Newton product of the mean loss, J' (d2 loss / d outputs2) J V: (Q, T) -> (Q, T)."""
    point = {n: objective.parameters[n] for n in objective.trained.shapes}

    def products(batch: Any, count: int) -> Callable[[Tensor], Tensor]:
        leaves, rebuild = _differentiable_outputs(objective, batch)
        outputs, pull = vjp(leaves, point)[:2]

        def transposed(*sides: Tensor) -> Tensor:
            return objective.trained.flatten(pull(sides)[0])

        def total_loss(o: tuple[Tensor, ...]) -> Tensor:
            return objective.stage.loss(rebuild(o), batch).sum()

        # `transposed` is linear, so that its own pull-back is J v: forward mode without forward-mode rules.
        push = vjp(transposed, *(torch.zeros_like(o) for o in outputs))[1]
        curve = vjp(grad(total_loss), outputs)[1]

        def product(vector: Tensor) -> Tensor:
            return objective.trained.flatten(pull(curve(push(vector))[0])[0])

        return product

    return _summed(objective, point, products, vectors, objective.trained.size) / objective.count


def _differentiable_outputs(
    objective: Objective, batch: Any
) -> tuple[Callable[..., tuple[Tensor, ...]], Callable[..., Any]]:
    """Outputs as a tuple of floating-point tensors, and the way back to what `loss` expects."""
    with torch.no_grad():
        values, spec = pytree.tree_flatten(objective.outputs(batch))
    real = [i for i, value in enumerate(values) if isinstance(value, Tensor) and value.is_floating_point()]

    def leaves(p: dict[str, Tensor]) -> tuple[Tensor, ...]:
        found = pytree.tree_leaves(objective.outputs(batch, p))
        return tuple(found[i] for i in real)

    def rebuild(outputs: tuple[Tensor, ...]) -> Any:
        filled = list(values)
        for i, value in zip(real, outputs, strict=True):
            filled[i] = value
        return pytree.tree_unflatten(filled, spec)

    return leaves, rebuild


def _summed(
    objective: Objective,
    point: dict[str, Tensor],
    products: Callable[[Any, int], Callable[[Tensor], Tensor]],
    vectors: Tensor,
    width: int,
) -> Tensor:
    """Sum over batches of a linear map, applied to chunks of rows so that memory stays bounded."""
    rows = vectors.to(objective.dtype)
    total = torch.zeros(len(rows), width, dtype=objective.sum_dtype, device=objective.device)
    step = _rows_at_once(objective, point)
    with plain_kernels():
        for positions, batch in objective.batches(objective.stage.data):
            product = products(batch, positions.stop - positions.start)
            for part in range(0, len(rows), step):
                chunk = slice(part, part + step)
                total[chunk] += _over_rows(objective, product, rows[chunk])
    return total.to(vectors.dtype)


def _rows_at_once(objective: Objective, point: dict[str, Tensor]) -> int:
    """How many products of a batch fit the budget, by what autograd keeps of one forward pass at the parameters."""
    kept = 1

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    positions, batch = next(objective.batches(objective.stage.data))
    live = {n: p.clone().requires_grad_() for n, p in point.items()}
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        objective.losses(batch, positions.stop - positions.start, live)
    return max(1, min(64, BUDGET // kept))


def _over_rows(objective: Objective, product: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    try:
        return vmap(product)(rows).detach()
    except RuntimeError as error:
        if ran_out_of_memory(error):
            raise
        objective.notes.add(
            f"{objective.stage.name}: curvature products one at a time (the model cannot be vectorised)"
        )
        return torch.stack([product(row).detach() for row in rows])


def basis(objective: Objective) -> Tensor:
    """All unit vectors: (T, T)."""
    return torch.eye(objective.trained.size, dtype=objective.dtype, device=objective.device)


def hessian(objective: Objective) -> Tensor:
    """The dense Hessian (T, T) of the mean loss, in float64."""
    matrix = hessian_product(objective, basis(objective)).double()
    return (matrix + matrix.T) / 2
