"""The Hessian of a loss with respect to the model's outputs, d2 loss / d outputs2: its square root, and samples of it.

The rows of the Gauss-Newton matrix are this square root times the Jacobian of the outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from influence.derivatives.autograd_limits import refuse_once_differentiable
from influence.derivatives.objective import Objective
from influence.errors import LossError

MAX_OUTPUTS = 128
"""Outputs of an example (classes, say) up to which their Hessian is decomposed."""


def differentiable(objective: Objective, outputs: Any) -> tuple[list[Tensor], Callable[[Any], Any]]:
    """The floating-point tensors among `outputs`, and a function that puts such tensors back in their places.

    Raises:
        LossError: `outputs` holds no floating-point tensor.
    """
    # Dataclasses that are no pytree nodes are split into their fields.
    apart = dataclasses.is_dataclass(outputs) and pytree.tree_is_leaf(outputs)
    fields = {f.name: getattr(outputs, f.name) for f in dataclasses.fields(outputs)} if apart else outputs
    values, spec = pytree.tree_flatten(fields)
    real = [i for i, value in enumerate(values) if isinstance(value, Tensor) and value.is_floating_point()]
    if not real:
        raise LossError(
            f"Stage {objective.stage.name!r}: `forward` returns a {type(outputs).__name__}, in which no tensor of real "
            "numbers is found. Return a tensor, or a tuple, list, dict or dataclass of some."
        )

    def rebuild(leaves: Any) -> Any:
        filled = list(values)
        for i, leaf in zip(real, leaves, strict=True):
            filled[i] = leaf
        made = pytree.tree_unflatten(filled, spec)
        return dataclasses.replace(outputs, **made) if apart else made

    return [values[i] for i in real], rebuild


def hessian_roots(objective: Objective, outputs: Any, batch: Any, count: int) -> Iterator[list[Tensor]] | None:
    """Square root of d2 loss / d outputs2: vectors r_k, of the outputs' shapes, with sum_k r_k r_k' equal to it.

    They are the eigenvectors of every example's Hessian times the roots of the eigenvalues, the largest first. None if
    there is no such root: outputs that are not (B, ...), more than `MAX_OUTPUTS`, or a loss that is not convex in them.
    """
    leaves, rebuild = differentiable(objective, outputs)
    points = [leaf.detach().requires_grad_() for leaf in leaves]
    with torch.enable_grad():
        losses = objective.stage.loss(rebuild(points), batch)
        slopes = torch.autograd.grad(losses.sum(), points, create_graph=True, allow_unused=True)
        refuse_once_differentiable(objective.stage.name, slopes)
        if any(p.dim() == 0 or len(p) != count for p, s in zip(points, slopes, strict=True) if s is not None):
            return None
        if not _examples_first(losses, points, slopes):
            return None
        used = [i for i, s in enumerate(slopes) if s is not None]
        width = sum(points[i].numel() // count for i in used)
        if not 0 < width <= MAX_OUTPUTS:
            return None
        slope = torch.cat([s.reshape(count, -1) for s in slopes if s is not None], dim=1)
        if not slope.requires_grad:  # linear in the outputs
            _note_linear(objective)
            return iter(())
        matrix = _curvature(slope, [points[i] for i in used])
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    largest = eigenvalues[:, -1:].clamp(min=0)
    rounding = width * torch.finfo(points[0].dtype).eps * largest.max()
    if (eigenvalues < -rounding).any():
        return None
    scaled = vectors * eigenvalues.clamp(min=0).sqrt()[:, None, :]
    kept = [k for k in reversed(range(width)) if float(eigenvalues[:, k].max()) > float(rounding)]
    if not kept:
        _note_linear(objective)
    return (_like(scaled[:, :, k], points, used) for k in kept)


def _examples_first(losses: Tensor, points: list[Tensor], slopes: tuple[Tensor | None, ...]) -> bool:
    """Whether each example's loss depends on its own row of the outputs only.

    It does not if the first dimension of the outputs is a sequence that happens to be as long as the batch.
    """
    weights = torch.arange(1, len(losses) + 1, device=losses.device).to(losses) / len(losses)
    weighted = torch.autograd.grad(losses, points, weights, retain_graph=True, allow_unused=True)
    for slope, found in zip(slopes, weighted, strict=True):
        if slope is not None and found is not None:
            expected = slope.detach() * weights.to(slope).view(-1, *[1] * (slope.dim() - 1))
            if not (found - expected).norm() <= torch.finfo(slope.dtype).eps ** 0.5 * expected.norm():
                return False
    return True


def _note_linear(objective: Objective) -> None:
    objective.remarks.notes.add(
        f"{objective.stage.name}: the loss, of some batches at least, is linear in what the model returns and adds "
        "nothing to the Gauss-Newton matrix. If these are log-probabilities, let the model return logits and the loss "
        "be their cross_entropy"
    )


def _curvature(slope: Tensor, points: list[Tensor]) -> Tensor:
    """Hessian (n, K, K) of every example, in float64: one backward pass of the loss alone for each column."""
    columns = []
    for k in range(slope.shape[1]):
        column = torch.autograd.grad(slope[:, k].sum(), points, retain_graph=True, allow_unused=True)
        filled = [torch.zeros_like(p) if c is None else c for c, p in zip(column, points, strict=True)]
        columns.append(torch.cat([c.reshape(len(slope), -1) for c in filled], dim=1))
    matrix = torch.stack(columns, dim=2).double()
    return (matrix + matrix.transpose(1, 2)) / 2


def _like(row: Tensor, points: list[Tensor], used: list[int]) -> list[Tensor]:
    """(n, K) split into tensors of the outputs' shapes, with zeros for outputs that the loss does not use."""
    parts = iter(row.split([points[i].numel() // len(points[i]) for i in used], dim=1))
    return [next(parts).to(p).view_as(p) if i in used else torch.zeros_like(p) for i, p in enumerate(points)]


def random_directions(
    objective: Objective, outputs: Any, batch: Any, count: int, generator: torch.Generator
) -> list[Tensor]:
    """Draw random vectors s at the outputs whose covariance is the loss's Hessian, E[s s'] = d2 loss / d outputs2.

    Back-propagated, they estimate the Gauss-Newton matrix. With few outputs, s is a sum of the Hessian's roots with
    random signs. With a cross-entropy over many outputs, it is the gradient for a label that is sampled from the model
    (Martens & Grosse 2015). For any other loss it is the loss's own gradient (empirical Fisher), which is noted.

    Returns:
        One tensor for each floating-point output, of its shape.
    """
    directions = hessian_roots(objective, outputs, batch, count)
    leaves, rebuild = differentiable(objective, outputs)
    if directions is not None:
        total = [torch.zeros_like(leaf) for leaf in leaves]
        for direction in directions:
            signs = (torch.randint(0, 2, (count,), generator=generator) * 2 - 1).to(objective.device)
            for whole, part in zip(total, direction, strict=True):
                whole += part * signs.to(part).view(-1, *[1] * (part.dim() - 1))
        return total
    sampled = _sampled_label_directions(objective, leaves, rebuild, batch, generator)
    if sampled is not None:
        return sampled
    objective.remarks.notes.add(
        f"{objective.stage.name}: the curvature in the outputs is taken from the loss's own gradients (empirical "
        "Fisher), since there are many outputs and the loss is no cross-entropy of them"
    )
    with torch.enable_grad():
        points = [leaf.detach().requires_grad_() for leaf in leaves]
        slopes = torch.autograd.grad(objective.stage.loss(rebuild(points), batch).sum(), points, allow_unused=True)
    return [torch.zeros_like(p) if s is None else s for p, s in zip(points, slopes, strict=True)]


def _sampled_label_directions(
    objective: Objective, leaves: list[Tensor], rebuild: Callable[[Any], Any], batch: Any, generator: torch.Generator
) -> list[Tensor] | None:
    """sqrt(w) (p - y) at every position: p the softmax, y a one-hot label drawn from p, w the position's loss weight.

    None if the loss is no weighted cross-entropy of the outputs. A cross-entropy is recognised by its Hessian: along a
    random direction u its product must be w (p * u - p p'u), which also gives w.
    """
    with torch.enable_grad():
        points = [leaf.detach().requires_grad_() for leaf in leaves]
        slopes = torch.autograd.grad(
            objective.stage.loss(rebuild(points), batch).sum(), points, create_graph=True, allow_unused=True
        )
        refuse_once_differentiable(objective.stage.name, slopes)
        used = [i for i, slope in enumerate(slopes) if slope is not None and slope.requires_grad]
        if len(used) != 1 or points[used[0]].dim() < 2:
            return None
        logits, slope = points[used[0]], slopes[used[0]]
        probe = torch.rand(logits.shape, generator=generator).to(logits)
        (product,) = torch.autograd.grad(slope, logits, probe)
    p = logits.detach().softmax(-1)
    expected = p * (probe - (p * probe).sum(-1, keepdim=True))
    weight = (product * expected).sum(-1) / expected.square().sum(-1).clamp(min=torch.finfo(p.dtype).tiny)
    error = (product - weight[..., None] * expected).norm()
    if not error <= 1e-2 * product.norm() or (weight < -1e-3 * weight.abs().max()).any():
        return None
    # Inverse transform sampling: several times faster than torch.multinomial.
    chance = torch.rand(p.shape[:-1], generator=generator, dtype=p.dtype).to(p.device)[..., None]
    labels = torch.searchsorted(p.cumsum(-1), chance)[..., 0].clamp(max=p.shape[-1] - 1)
    gradients = p.scatter_add(-1, labels[..., None], -torch.ones_like(p[..., :1]))
    directions = [torch.zeros_like(point) for point in points]
    directions[used[0]] = weight.clamp(min=0).sqrt()[..., None] * gradients
    return directions
