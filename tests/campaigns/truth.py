"""The independent side: gradients and curvature by plain autograd in double precision, one example at a time.

Nothing of `influence` is imported here. Each example is a batch of its own, so that layouts of batches, padding and
layer rules play no part; matrices are dense.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree


def doubled(batch: Any) -> Any:
    """The same batch with its floating-point tensors in double precision; mappings become dicts."""
    if isinstance(batch, Tensor):
        return batch.double() if batch.is_floating_point() else batch
    if isinstance(batch, Mapping):
        return {key: doubled(value) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(doubled, batch))
    if isinstance(batch, list | tuple):
        return type(batch)(map(doubled, batch))
    if hasattr(batch, "__dict__"):
        twin = copy.copy(batch)
        vars(twin).update({key: doubled(value) for key, value in vars(batch).items()})
        return twin
    return batch


def batch_norm(
    input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
) -> Tensor:
    dims = [0, *range(2, input.dim())] if training else []
    return normalised(input, running_mean, running_var, weight, bias, dims, eps)


def instance_norm(
    input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
) -> Tensor:
    dims = [*range(2, input.dim())] if use_input_stats else []
    return normalised(input, running_mean, running_var, weight, bias, dims, eps)


def normalised(x, mean, variance, weight, bias, dims, eps) -> Tensor:
    """(x - mean) / deviation * weight + bias, a channel each; mean and deviation over `dims`, if any."""
    given = (mean, variance, weight, bias)
    mean, variance, weight, bias = (None if t is None else t.view(-1, *[1] * (x.dim() - 2)) for t in given)
    if dims:
        mean, variance = x.mean(dims, keepdim=True), x.var(dims, unbiased=False, keepdim=True)
    normal = (x - mean) / (variance + eps).sqrt()
    return normal * (1 if weight is None else weight) + (0 if bias is None else bias)


FORMULAS = {functional.batch_norm: batch_norm, functional.instance_norm: instance_norm}


class Formulas(TorchFunctionMode):
    """Norms by their formula: torch's own kernel has wrong gradients of one picture whose channels move later."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return FORMULAS.get(func, func)(*args, **(kwargs or {}))


def flat(tensors: Iterable[Tensor | None], like: list[Tensor]) -> Tensor:
    """One vector; what autograd found no way to counts as zeros."""
    pairs = zip(tensors, like, strict=True)
    dense = [torch.zeros_like(p) if t is None else t.to_dense() for t, p in pairs]
    return torch.cat([tensor.double().reshape(-1) for tensor in dense])


def second(gradient: Tensor, points: list[Tensor]) -> Tensor:
    """Rows of second derivatives, one of each entry of a gradient that autograd can go on from: (N, N)."""
    rows = [
        flat(torch.autograd.grad(entry, points, retain_graph=True, allow_unused=True), points)
        if entry.requires_grad
        else torch.zeros(len(gradient), dtype=torch.float64)
        for entry in gradient
    ]
    return torch.stack(rows)


@dataclass
class Truth:
    """One stage's derivatives: m examples, Q queries, P trained parameters, R outputs of all examples together."""

    examples: Tensor
    """(m, P), gradients of the examples' losses."""
    queries: Tensor
    """(Q, P), gradients of the queries' losses."""
    jacobian: Tensor
    """(R, P), of the outputs."""
    inner: Tensor
    """(R, R), second derivatives of the mean loss in the outputs; a block an example."""
    layers: list[slice]
    """The parameters of each layer."""

    def products(self) -> Tensor:
        """(Q, m): scores without any curvature."""
        return self.queries @ self.examples.T / len(self.examples)

    def scores(self, ridge: float) -> Tensor:
        """(Q, m): scores of the Gauss-Newton matrix plus `ridge`."""
        return self._solved(slice(None), ridge) @ self.examples.T / len(self.examples)

    def layerwise(self, ridge: float) -> Tensor:
        """(Q, m): scores of its blocks, a layer each, without the curvature between layers."""
        solved = torch.cat([self._solved(layer, ridge) for layer in self.layers], dim=1)
        return solved @ self.examples.T / len(self.examples)

    def _solved(self, part: slice, ridge: float) -> Tensor:
        J, M, q = self.jacobian[:, part], self.inner, self.queries[:, part]
        rows, size = J.shape
        if rows >= size:
            return torch.linalg.solve(J.T @ M @ J + ridge * torch.eye(size, dtype=q.dtype), q.T).T
        # Woodbury, without an inverse of M, which a saturated prediction makes singular.
        small = torch.linalg.solve(J @ J.T @ M + ridge * torch.eye(rows, dtype=q.dtype), J @ q.T)
        return (q - (J.T @ (M @ small)).T) / ridge


@dataclass
class Side:
    """A model in double precision, and how it is called on one example.

    Args:
        model: is changed to double precision and to evaluation mode; give a copy.
        trained: the names of its trained parameters.
        forward, loss, collate: as the user wrote them.
    """

    model: nn.Module
    trained: list[str]
    forward: Callable[[nn.Module, Any], Any]
    loss: Callable[[Any, Any], Tensor]
    collate: Callable[[list[Any]], Any]

    def __post_init__(self) -> None:
        self.model.double().eval().requires_grad_(False)
        named = dict(self.model.named_parameters())
        self.parameters = [named[name].requires_grad_(True) for name in self.trained]

    def gradients(self, examples: Iterable[Any]) -> Tensor:
        """(n, P)."""
        return torch.stack([self._gradient(self.batch(example)) for example in examples])

    def batch(self, example: Any) -> Any:
        return doubled(self.collate([example]))

    def outputs(self, batch: Any) -> Any:
        # In training mode, modules let go of what they keep of their parameters in evaluation mode.
        with Formulas():
            return self.forward(self.model.train().eval(), batch)

    def _gradient(self, batch: Any) -> Tensor:
        value = self.loss(self.outputs(batch), batch)
        assert value.numel() == 1, f"the loss of one example has shape {tuple(value.shape)}"
        return flat(torch.autograd.grad(value.sum(), self.parameters, allow_unused=True), self.parameters).detach()

    def rows(self, example: Any) -> tuple[Tensor, Tensor]:
        """Jacobian (outputs, P) of those outputs that the loss reads, and the loss's Hessian in them."""
        batch = self.batch(example)
        leaves, form = pytree.tree_flatten(self.outputs(batch))
        real = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        points = {i: leaves[i].detach().clone().requires_grad_() for i in real}
        value = self.loss(pytree.tree_unflatten([points.get(i, leaf) for i, leaf in enumerate(leaves)], form), batch)
        slopes = torch.autograd.grad(value.sum(), list(points.values()), create_graph=True, allow_unused=True)
        read = [i for i, slope in zip(real, slopes, strict=True) if slope is not None]
        used = [points[i] for i in read]
        inner = second(torch.cat([slope.reshape(-1) for slope in slopes if slope is not None]), used)
        outputs = torch.cat([leaves[i].reshape(-1) for i in read])
        rows = [
            flat(torch.autograd.grad(o, self.parameters, retain_graph=True, allow_unused=True), self.parameters)
            for o in outputs
        ]
        return torch.stack(rows), inner.detach()

    def truth(self, examples: list[Any], queries: list[Any]) -> Truth:
        rows, blocks = zip(*map(self.rows, examples), strict=True)
        inner = torch.block_diag(*blocks) / len(examples)
        return Truth(self.gradients(examples), self.gradients(queries), torch.cat(rows), inner, self._layers())

    def _layers(self) -> list[slice]:
        """Neighbours whose names differ in the last word belong to one layer."""
        ends, start, found = 0, 0, []
        names = [name.rpartition(".")[0] for name in self.trained]
        for i, parameter in enumerate(self.parameters):
            ends += parameter.numel()
            if i + 1 == len(names) or names[i + 1] != names[i]:
                found.append(slice(start, ends))
                start = ends
        return found

    def hessian(self, examples: list[Any]) -> Tensor:
        """(P, P), of the mean loss."""
        total = torch.zeros(0)
        for example in examples:
            batch = self.batch(example)
            value = self.loss(self.outputs(batch), batch).sum()
            slopes = torch.autograd.grad(value, self.parameters, create_graph=True, allow_unused=True)
            matrix = second(flat(slopes, self.parameters), self.parameters)
            total = matrix if not len(total) else total + matrix
        return total / len(examples)
