"""Tensors that are functions of parameters alone: transposed and normalised weights, slices, merged LoRA matrices.

A layer rule treats such a tensor as a parameter. Its gradients are then pulled back, by the chain rule, to the
parameters it was computed from.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from influence.derivatives.first.factors import Factor, Outer, PatchOuter

Function = Callable[[Tensor], Tensor]


class Derived:
    """The value of func(*args, **kwargs), a function of watched parameters, buffers and other derived tensors.

    Args:
        func: a torch function.
        leaves, rebuild: the pytree leaves of (args, kwargs), and the function that rebuilds (args, kwargs) from leaves.
        behind: the source of each leaf: a parameter's name, a `Derived`, or None for a constant.
        value: the tensor.

    Attributes:
        parameters: name -> value of every parameter that this tensor depends on.
        order: how the tensor holds one parameter's numbers, where it does: "same" or "transposed".
    """

    def __init__(
        self, func: Any, leaves: list[Any], rebuild: Callable[[list[Any]], Any], behind: list[Any], value: Tensor
    ):
        self.func, self.rebuild, self.behind = func, rebuild, behind
        roots = [leaf for leaf, source in zip(leaves, behind, strict=True) if source is not None]
        own = len(roots) == 1 and isinstance(next(filter(None, behind)), str)
        self.order = _order(roots[0], value) if own else ""
        self.leaves = [_wide(leaf) for leaf in leaves]
        self.parameters: dict[str, Tensor] = {}
        for leaf, source in zip(self.leaves, behind, strict=True):
            self.parameters |= source.parameters if isinstance(source, Derived) else {source: leaf} if source else {}

    def __call__(self, name: str, value: Tensor) -> Tensor:
        """The tensor, recomputed with another value of the parameter called `name`."""
        leaves = list(self.leaves)
        for i, source in enumerate(self.behind):
            if source == name:
                leaves[i] = value
            elif isinstance(source, Derived) and name in source.parameters:
                leaves[i] = source(name, value)
        args, kwargs = self.rebuild(leaves)
        return self.func(*args, **kwargs)

    def carried(self, factor: Factor) -> list[tuple[str, Factor]]:
        """(parameter, factor of its gradients) for every parameter behind this tensor, from this tensor's factor."""
        if self.order == "same":
            return [(name, factor) for name in self.parameters]
        if self.order == "transposed" and isinstance(factor, Outer) and not isinstance(factor, PatchOuter):
            return [(name, Outer(factor.right, factor.left)) for name in self.parameters]
        return [(name, Carried(factor, partial(self, name), point)) for name, point in self.parameters.items()]


def _order(parameter: Tensor, value: Tensor) -> str:
    """How a view holds all numbers of a parameter: in the "same" order, or its last two dimensions "transposed"."""
    if value.dtype != parameter.dtype or value.data_ptr() != parameter.data_ptr() or not parameter.is_contiguous():
        return ""
    if value.numel() == parameter.numel() and value.is_contiguous():
        return "same"
    turned = parameter.mT if parameter.dim() > 1 else parameter
    return "transposed" if (value.shape, value.stride()) == (turned.shape, turned.stride()) else ""


def _wide(leaf: Any) -> Any:
    if isinstance(leaf, Tensor) and leaf.is_floating_point():
        return leaf.to(torch.promote_types(leaf.dtype, torch.float32))
    return leaf


class Carried(Factor):
    """Gradients of a parameter that the model uses through a function: J' g, J the function's Jacobian.

    Args:
        factor: gradients g of the function's value.
        function: parameter -> value.
        point: the parameter, at which J is taken.
    """

    def __init__(self, factor: Factor, function: Function, point: Tensor):
        self.factor, self.function, self.point = factor, function, point

    @property
    def shape(self) -> tuple[int, int]:
        return self.factor.shape[0], self.point.numel()

    def __getitem__(self, examples: slice | list[int]) -> Carried:
        return Carried(self.factor[examples], self.function, self.point)

    def gradients(self) -> Tensor:
        return self._pulled(self.factor.gradients())

    def weighted(self, weights: Tensor) -> Tensor:
        return self._pulled(self.factor.weighted(weights)[None])[0]

    def _pulled(self, rows: Tensor) -> Tensor:
        value, pull = vjp(self.function, self.point)[:2]
        return vmap(pull)(rows.to(value.dtype).view(-1, *value.shape))[0].reshape(len(rows), -1)

    def add_dots(self, scores: Tensor, vectors: Tensor) -> None:
        try:
            tangents = vectors.reshape(-1, *self.point.shape).to(self.point.dtype)
            moved = vmap(lambda t: jvp(self.function, (self.point,), (t,))[1])(tangents)
        except (RuntimeError, NotImplementedError):  # no forward-mode rule for the function
            scores.addmm_(self.gradients(), vectors.T)
            return
        self.factor.add_dots(scores, moved.reshape(len(vectors), -1).to(vectors.dtype))
