"""Second derivatives of a stage's mean loss, by reverse mode only: products with vectors.

They use `torch.autograd`, not `torch.func`: `vmap` is applied to backward passes only, so the model's forward pass need
not support it. The l2 and proximity terms are not part of these matrices: solvers add the objective's `ridge`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from influence.derivatives.autograd_limits import refuse_once_differentiable
from influence.derivatives.kernels.convolution import FastConvolution
from influence.derivatives.objective import BUDGET, Objective, plain_kernels, ran_out_of_memory
from influence.derivatives.second.outputs import OutputLoss
from influence.study.layout import Layout

Product = Callable[[Tensor], Tensor]
"""The product of a batch: (T,) or several vectors (n, T) -> as many products."""

AT_ONCE = 16
"""Products that a processor takes at once: of more, a small network's are too large for its cache, and half as fast."""


def hessian_product(objective: Objective, vectors: Tensor) -> Tensor:
    """H_TT V of the mean loss, by double backprop: (Q, T) -> (Q, T)."""
    return _second(objective, vectors, objective.trained, objective.trained)


def weighted_hessian_product(objective: Objective, vectors: Tensor, data: Any, weights: Tensor) -> Tensor:
    """H_TT V of the sum of the losses of `data`, each times its weight of `weights` (n,): (Q, T) -> (Q, T)."""

    def product(batch: Any, positions: slice) -> Product:
        return _by_reverse(objective, batch, weights[positions], objective.trained, objective.trained)

    return _summed(objective, product, vectors, objective.trained, objective.trained, data)


def mixed_product(objective: Objective, vectors: Tensor) -> Tensor:
    """H_FT V of the mean loss, exact, by double backprop: (Q, T) -> (Q, F)."""
    if not objective.frozen.size:
        return vectors.new_zeros(len(vectors), 0)
    return _second(objective, vectors, objective.trained, objective.frozen)


def _second(objective: Objective, vectors: Tensor, columns: Layout, rows: Layout) -> Tensor:
    """(d / d rows) (d / d columns . v) of the mean loss, for every v of `vectors`: (Q, columns) -> (Q, rows)."""
    if len(vectors) > min(columns.size, rows.size):
        # More vectors than dimensions on one side: apply the map to that side's basis once, then multiply.
        if rows.size < columns.size:
            return vectors @ _second(objective, _units(objective, rows), rows, columns).to(vectors).T
        return vectors @ _second(objective, _units(objective, columns), columns, rows).to(vectors)

    def product(batch: Any, positions: slice) -> Product:
        ones = vectors.new_ones(positions.stop - positions.start)
        return _by_reverse(objective, batch, ones, columns, rows)

    return _summed(objective, product, vectors, columns, rows) / objective.count


def _by_reverse(objective: Objective, batch: Any, weights: Tensor, columns: Layout, rows: Layout) -> Product:
    """(d / d rows) (d / d columns . v) of the weighted sum of a batch's losses."""
    live = _live(objective, {**columns.shapes, **rows.shapes})
    losses = objective.losses(batch, len(weights), live)
    gradients = _back([(losses * weights.to(losses)).sum()], [live[n] for n in columns.shapes], create_graph=True)
    refuse_once_differentiable(objective.stage.name, gradients)
    sides = [live[n] for n in rows.shapes]

    def along(vectors: Tensor) -> Tensor:
        given = list(columns.unflatten(vectors).values())
        return _joined(rows, _back(gradients, sides, given), vectors)

    return along


def ggn_product(objective: Objective, vectors: Tensor) -> Tensor:
    """Generalised Gauss-Newton product of the mean loss, J' (d2 loss / d outputs2) J V: (Q, T) -> (Q, T)."""

    def product(batch: Any, _: slice) -> Product:
        live = trained_leaves(objective)
        parameters = list(live.values())
        curve = OutputLoss(objective, objective.outputs(batch, live), batch)
        tangents = OutputTangents(curve.leaves, parameters)

        def along(vectors: Tensor) -> Tensor:
            pushed = tangents(list(objective.trained.unflatten(vectors).values()))
            wide = [p if p is None else p.to(s.dtype) for p, s in zip(pushed, curve.output_gradients, strict=True)]
            curved = _back(curve.output_gradients, curve.points, wide)
            sides = [c if c is None else c.to(leaf.dtype) for c, leaf in zip(curved, curve.leaves, strict=True)]
            return _joined(objective.trained, _back(curve.leaves, parameters, sides), vectors)

        return along

    return _summed(objective, product, vectors, objective.trained, objective.trained) / objective.count


class OutputTangents:
    """J v: how a batch's outputs change along vectors over the trained parameters.

    J'u is linear in u, so its derivative along v is J v: forward mode without forward-mode rules.

    Args:
        leaves: tensors of the model's outputs, which hang on `parameters`.
        parameters: those of `trained_leaves`.
    """

    def __init__(self, leaves: Sequence[Tensor], parameters: Sequence[Tensor]):
        self._starts = [torch.zeros_like(leaf).requires_grad_() for leaf in leaves]
        self._pulled = _back(leaves, parameters, self._starts, create_graph=True)

    def __call__(self, vectors: Sequence[Tensor]) -> list[Tensor | None]:
        """Vectors by parameter -> tangents by leaf. Several vectors, and so tangents, have a first dimension more."""
        return _back(self._pulled, self._starts, vectors)


def trained_leaves(objective: Objective) -> dict[str, Tensor]:
    """The trained parameters by name, as leaves of a graph."""
    return _live(objective, objective.trained.shapes)


def _live(objective: Objective, names: Mapping[str, Any]) -> dict[str, Tensor]:
    return {n: objective.parameters[n].detach().requires_grad_() for n in names}


def _back(
    outputs: Sequence[Tensor | None],
    inputs: Sequence[Tensor],
    sides: Sequence[Tensor | None] | None = None,
    create_graph: bool = False,
) -> list[Tensor | None]:
    """Gradients of sum(outputs * sides) in each of the inputs; None where an input has no influence.

    `sides` are ones by default. An output or side that is None counts as 0. With an extra first dimension, `sides` are
    several weightings at once, and the gradients have this dimension too.
    """
    pairs = [(o, None if sides is None else sides[i]) for i, o in enumerate(outputs) if o is not None]
    pairs = [(o, s) for o, s in pairs if o.requires_grad and (sides is None or s is not None)]
    if not pairs or not inputs:
        return [None] * len(inputs)
    several = any(s is not None and s.dim() > o.dim() for o, s in pairs)
    found = torch.autograd.grad(
        [o for o, _ in pairs], inputs, [s for _, s in pairs], retain_graph=True, create_graph=create_graph,
        allow_unused=True, is_grads_batched=several,
    )  # fmt: skip
    return list(found)


def _joined(layout: Layout, found: Sequence[Tensor | None], like: Tensor) -> Tensor:
    """Gradients by parameter, in the order of `layout`, as one vector; leading dimensions and dtype as `like`."""
    lead = like.shape[:-1]
    parts = zip(layout.shapes.items(), found, strict=True)
    return layout.flatten({n: like.new_zeros(*lead, *s) if f is None else f.detach() for (n, s), f in parts})


def _summed(
    objective: Objective,
    product: Callable[[Any, slice], Product],
    vectors: Tensor,
    columns: Layout,
    rows: Layout,
    data: Any = None,
) -> Tensor:
    """Sum of the products of the batches of `data`, by default the stage's: (Q, columns) -> (Q, rows).

    A few vectors are taken at a time, to bound memory.
    """
    given = vectors.to(objective.dtype)
    total = torch.zeros(len(given), rows.size, dtype=objective.sum_dtype, device=objective.device)
    step = _vectors_at_once(objective, {**columns.shapes, **rows.shapes})
    with plain_kernels(), FastConvolution(), torch.enable_grad():
        for positions, batch in objective.batches(objective.stage.data if data is None else data):
            along = product(batch, positions)
            for start in range(0, len(given), step):
                part = slice(start, start + step)
                total[part] += _over_vectors(objective, along, given[part])
    return total.to(vectors.dtype)


def _vectors_at_once(objective: Objective, names: Mapping[str, Any]) -> int:
    """Number of vectors whose products fit `BUDGET`."""
    kind = min(objective.batch_size, len(objective.stage.data)), len(names)
    if kind not in objective.saved:  # a stochastic series asks once a minibatch
        objective.saved[kind] = _bytes_saved(objective, names)
    return max(1, min(AT_ONCE if objective.device.type == "cpu" else 4 * AT_ONCE, BUDGET // objective.saved[kind]))


def _bytes_saved(objective: Objective, names: Mapping[str, Any]) -> int:
    """Bytes that autograd saves in a forward pass of the first batch, at least 1."""
    kept = 1

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes if tensor.layout == torch.strided else 0
        return tensor

    positions, batch = next(objective.batches(objective.stage.data))
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor), torch.enable_grad():
        objective.losses(batch, positions.stop - positions.start, _live(objective, names))
    return kept


def _over_vectors(objective: Objective, along: Product, vectors: Tensor) -> Tensor:
    """The product with all vectors at once; one at a time, with a note, where `vmap` does not support the model."""
    try:
        return along(vectors)
    except RuntimeError as error:
        if ran_out_of_memory(error):
            raise
        objective.remarks.notes.add(
            f"{objective.stage.name}: curvature products one at a time (the model cannot be vectorised)"
        )
        return torch.stack([along(vector) for vector in vectors])


def basis(objective: Objective) -> Tensor:
    """All unit vectors over the trained parameters: (T, T)."""
    return _units(objective, objective.trained)


def _units(objective: Objective, layout: Layout) -> Tensor:
    return torch.eye(layout.size, dtype=objective.dtype, device=objective.device)
