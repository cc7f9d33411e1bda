"""Calls without a rule of their own: the call alone is differentiated example by example, at once, not the model."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap
from torch.utils import _pytree as pytree

from influence.derivatives.first.alignment import arranged
from influence.derivatives.first.factors import CHUNK_BYTES, Dense, Factor
from influence.derivatives.first.layers.use import Arrange, Use, shared


class Local(Use):
    """A call of any torch function. Its output's rows belong to the examples as its tensors' rows do.

    Args:
        func: the function.
        leaves, spec: of (args, kwargs), as a pytree.
        named: the name of every leaf that is watched, else None.
        fixed: places of the leaves that have nothing of the examples.
    """

    def __init__(self, func: Any, leaves: list[Any], spec: Any, named: list[str | None], fixed: set[int]):
        super().__init__(None, None, None)
        self.func, self.spec, self.named, self.fixed = func, spec, named, fixed
        self.leaves = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._data = [i for i, v in enumerate(leaves) if isinstance(v, Tensor) and named[i] is None and i not in fixed]

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for name in self.named if name is not None))

    def kept_tensors(self) -> list[Tensor]:
        return [self.leaves[i] for i in self._data]

    def share(self, count: int) -> None:
        self._change(lambda tensor: shared(tensor, count))

    def arrange(self, output: Tensor, layout: str, count: int) -> None:
        rows = output.shape[:1]
        self._change(lambda tensor: arranged(tensor, layout, count) if tensor.shape[:1] == rows else tensor)

    def keep_copies(self) -> None:
        self._change(Tensor.clone)

    def _change(self, change: Any) -> None:
        for i in self._data:
            self.leaves[i] = change(self.leaves[i])

    def widen(self, gradient: Tensor) -> Tensor:
        self.leaves = [_wide(leaf) for leaf in self.leaves]
        return _wide(gradient)

    def factors(self, gradient: Tensor, arrange: Arrange, count: int) -> list[tuple[str, Factor]]:
        # Where the examples are counted: in the first dimension, or the second.
        dim = 0 if arrange(torch.empty(2, 1, device="meta")).shape[0] == 2 else 1
        length = gradient.shape[dim]
        rows = [i for i in self._data if self.leaves[i].shape[dim : dim + 1] == (length,)]
        places = [i for i, name in enumerate(self.named) if name is not None]

        def split(tensor: Tensor) -> Tensor:
            return tensor.unflatten(dim, (count, length // count)).movedim(dim, 0)

        def one(side: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
            def call(*weights: Tensor) -> Tensor:
                leaves = list(self.leaves)
                for i, value in (*zip(rows, parts, strict=True), *zip(places, weights, strict=True)):
                    leaves[i] = value
                args, kwargs = pytree.tree_unflatten(leaves, self.spec)
                found: Tensor = self.func(*args, **kwargs)
                return found

            value, pull = vjp(call, *(self.leaves[i] for i in places))[:2]
            found: tuple[Tensor, ...] = pull(side.to(value.dtype))
            return found

        size = gradient.element_size() * sum(math.prod(self.leaves[i].shape) for i in places)
        at_once = max(1, CHUNK_BYTES // max(1, size))
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
                each = vmap(one, chunk_size=at_once)(split(gradient), *(split(self.leaves[i]) for i in rows))
        except (AssertionError, LookupError, NotImplementedError, TypeError, ValueError) as error:
            raise RuntimeError(str(error)) from error
        found: list[tuple[str, Factor]] = []
        for i, gradients in zip(places, each, strict=True):
            name = self.named[i]
            assert name is not None
            found.append((name, Dense(gradients)))
        return found


def _wide(leaf: Any) -> Any:
    if isinstance(leaf, Tensor) and leaf.is_floating_point():
        return leaf.to(torch.promote_types(leaf.dtype, torch.float32))
    return leaf
