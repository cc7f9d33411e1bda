"""Parts of a stage's data: spans, samples, and batches of whatever `collate` makes, on the device."""

from __future__ import annotations

import copy
from collections import UserDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

SPAN = 4096
"""Examples of a span, at least; a multiple of the columns of a chunk of scores."""
LARGE_SPAN = 1024
"""Of a network of `LARGE` parameters, whose examples take long."""
LARGE = 10_000_000


def spans(count: int, parameters: int, *, width: int = 1, most: int | None = None) -> list[slice]:
    """The parts that a pass over `count` examples is computed in, in order, by one process or by many.

    They depend on sizes alone, so that every process finds the same.

    Args:
        count: of the examples.
        parameters: of the network.
        width: every span but the last is a multiple of so many examples, which is a power of 2 or less than a span.
        most: of them, at most.
    """
    step = max(width, LARGE_SPAN if parameters >= LARGE else SPAN)
    while most is not None and step * most < count:
        step *= 2
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def spread(data: Any, count: int, first: int = 0) -> torch.utils.data.Subset[Any]:
    """`count` examples, evenly spaced over the data from example `first` on; all if there are no more."""
    places = range(first, len(data), max(1, len(data) // count))[:count]
    return torch.utils.data.Subset(data, places)


def on_device(batch: Any, device: torch.device) -> Any:
    """The batch with its tensors on the device, and so every object in it that has a method `to`.

    A `UserDict` (a tokenizer's `BatchEncoding`) becomes one that `vmap` takes apart like a dictionary.
    """
    return pytree.tree_map(partial(_moved, device=device), batch, is_leaf=_is_whole)


def _is_whole(value: Any) -> bool:
    """Whether an object is moved as a whole: a packed sequence, say, whose lengths stay on the processor."""
    return hasattr(type(value), "to") and not isinstance(value, Tensor | UserDict)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        # Tensors made in inference mode cannot be differentiated; their clones can.
        return (value.clone() if value.is_inference() else value).to(device)
    if isinstance(value, UserDict):
        if type(value) not in pytree.SUPPORTED_NODES:
            pytree.register_pytree_node(type(value), _taken_apart, _put_together)
        return on_device(value, device)
    if _is_whole(value):
        own = copy.copy(value)  # `to` may move an object in place, and this one may be the data's
        moved = own.to(device)
        return own if moved is None else moved
    return value


@dataclass
class _Frame:
    """A `UserDict` without its values."""

    keys: list[Any]
    whole: UserDict[Any, Any] = field(compare=False)


def _taken_apart(whole: UserDict[Any, Any]) -> tuple[list[Any], _Frame]:
    return list(whole.data.values()), _Frame(list(whole.data), whole)


def _put_together(values: Iterable[Any], frame: _Frame) -> UserDict[Any, Any]:
    again = copy.copy(frame.whole)
    again.data = dict(zip(frame.keys, values, strict=True))
    return again
