"""Parameters that a stage's loss depends on and that its scores would miss: looked for once a stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from influence.derivatives.autograd_limits import leaves_of
from influence.derivatives.objective import Objective, plain_kernels, restricted
from influence.errors import listed

FEW = 4
"""Examples whose gradients are compared."""


def warn_of_missing(objective: Objective) -> None:
    """Compare the gradient that influence is computed from with autograd's, of the model called as it is.

    A warning names the parameters that differ, those that the model uses but does not register, and those of which a
    module keeps a value from a call before.
    """
    own = {n: p for n, p in objective.model.named_parameters() if n in objective.parameters}
    flags = {n: p.requires_grad for n, p in own.items()}
    batch, count = _first(objective)
    try:
        for name, parameter in own.items():
            parameter.requires_grad_().data = objective.parameters[name]
        expected, outside = _gradients(objective, batch, count, own)
        others = {n: p.clone().requires_grad_() for n, p in objective.parameters.items()}
        found, lasting = _gradients(objective, batch, count, others)
    finally:
        for name, parameter in own.items():
            parameter.requires_grad_(flags[name])
    _warn_of_differing(objective, expected, found)
    # A leaf of one call alone was made in it, of the data: to differentiate an energy by positions, say.
    data = {id(value) for value in pytree.tree_leaves(batch)}
    held = {id(leaf) for leaf, _ in lasting} - data
    _warn_of_outside(objective, expected, [(leaf, row) for leaf, row in outside if id(leaf) in held])
    _warn_of_kept(objective, [n for n in objective.trained.shapes if n not in expected])


def _first(objective: Objective) -> tuple[Any, int]:
    """A batch of the first few examples. Its tensors have no history."""
    few = restricted(objective, range(min(FEW, objective.batch_size, len(objective.stage.data))))
    positions, batch = next(few.batches(few.stage.data))
    return pytree.tree_map_only(Tensor, Tensor.detach, batch), positions.stop


def _gradients(
    objective: Objective, batch: Any, count: int, parameters: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[tuple[Tensor, Tensor]]]:
    """Gradients of those parameters that the losses depend on, and (leaf, gradient) of all else that they depend on."""
    with plain_kernels(), torch.enable_grad():
        losses = objective.losses(batch, count, dict(parameters))
        leaves = {id(leaf): leaf for leaf in leaves_of([losses])}
        if not leaves:
            return {}, []
        # Weights that differ tell the examples apart.
        weights = torch.linspace(1, 2, count, device=losses.device, dtype=losses.dtype)
        rows = dict(zip(leaves, torch.autograd.grad(losses, list(leaves.values()), weights), strict=True))
    named = {name: rows.pop(id(p)) for name, p in parameters.items() if id(p) in rows}
    return named, [(leaves[key], row) for key, row in rows.items()]


def _warn_of_differing(objective: Objective, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    if not expected:
        return
    norms = _norms(expected.values())
    gaps = _norms(row - found[name] if name in found else row for name, row in expected.items())
    rounding = objective.epsilon**0.5 * norms + 100 * objective.epsilon * norms.norm()
    differing = [name for name, is_off in zip(expected, (gaps > rounding).tolist(), strict=True) if is_off]
    if differing:
        share = float(gaps[gaps > rounding].norm() / norms.norm())
        objective.remarks.warn(
            f"{objective.stage.name}: the model keeps values of {listed(differing)} where they cannot be exchanged; "
            f"{share:.2g} of the gradient of the first examples is missing, and as much of the scores. Compute what is "
            "made of parameters in every forward, and hold parameters as attributes of registered modules"
        )


def _warn_of_outside(
    objective: Objective, expected: Mapping[str, Tensor], outside: Sequence[tuple[Tensor, Tensor]]
) -> None:
    missing = float(_norms(row for _, row in outside).norm()) if outside else 0.0
    if missing:
        theirs = {id(p): n for n, p in objective.stage.model.named_parameters()}
        named = [theirs.get(id(leaf), f"one of shape {tuple(leaf.shape)}") for leaf, _ in outside]
        share = missing / float(_norms([*expected.values(), *(row for _, row in outside)]).norm())
        objective.remarks.warn(
            f"{objective.stage.name}: its model or loss uses parameters that are not registered in the model that "
            f"`forward` is given: {listed(named)}. The scores miss them: {share:.2g} of the gradient of the first "
            "examples. Register them (nn.ParameterList, nn.ModuleList, add_module), and call the model that `forward` "
            "is given; where they are not trained, call requires_grad_(False) on them"
        )


def _warn_of_kept(objective: Objective, unused: Iterable[str]) -> None:
    """Warn of trained parameters that no loss depends on, and whose module keeps a tensor of its own."""
    own = {id(p) for p in objective.model.parameters()}
    for name in unused:
        module = objective.model.get_submodule(name.rpartition(".")[0])
        attributes = [value for key, value in vars(module).items() if key not in vars(nn.Module())]
        tensors = [t for t in pytree.tree_leaves(attributes) if isinstance(t, Tensor) and t.is_floating_point()]
        if any(id(t) not in own for t in tensors):
            objective.remarks.warn(
                f"{objective.stage.name}: no loss of the first examples depends on {name}, and its module keeps a "
                "tensor that is most likely made of it, from a call before. The scores miss this parameter. Compute "
                "that tensor in every forward, or clear it before"
            )


def _norms(rows: Iterable[Tensor]) -> Tensor:
    return torch.stack([row.float().norm() for row in rows])
