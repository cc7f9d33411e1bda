"""Torch functions whose gradients are not those of their value, or not of a form that derivatives can be made of.

A table's gradient may be sparse, or divided by how often the batch has a row; an embedding bag has no second
derivatives; a view as complex numbers wants even places in memory, where parts of flat vectors need not lie; a
normalisation of one picture mixes up its channels on the way back where their dimension was moved to the end; a branch
of `torch.cond` that is not compiled has no gradients in the parameters of its layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from influence.derivatives.kernels.embedding_bags import embedding_bag


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: Any = None,
    max_norm: Any = None,
    norm_type: Any = 2.0,
    *_: Any,
    **__: Any,
) -> Tensor:
    """As `torch.nn.functional.embedding`, without its flags: the gradient is dense, and that of the loss."""
    return functional.embedding(input, weight, padding_idx, max_norm, norm_type)


def table_rows(weight: Tensor, indices: Tensor, padding_idx: int = -1, *_: Any, **__: Any) -> Tensor:
    """As `torch.embedding`, which `functional.embedding` calls."""
    return functional.embedding(indices, weight, padding_idx if padding_idx >= 0 else None)


def view_as_complex(input: Tensor) -> Tensor:
    """As `torch.view_as_complex`, but a copy. Neither values nor derivatives must begin at an even place in memory."""
    return torch.complex(input[..., 0], input[..., 1])


def of_one_row(normal: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """As a batch or instance norm, which the place of its channels in memory does not confuse.

    Torch's kernel takes the gradient at the output of one picture or volume for one with its channels in another place,
    where a later layer has moved them (`flatten(2).transpose(1, 2)`, from pictures to words). Its gradients are wrong
    then, of the input too (torch 2.14). Of a series they are right.
    """

    def call(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if input.dim() < 4 or len(input) != 1:
            return normal(input, *args, **kwargs)
        return normal(input.flatten(2), *args, **kwargs).view_as(input)

    return call


def branch(chosen: Any, true: Callable[..., Any], false: Callable[..., Any], operands: Any = ()) -> Any:
    """As `torch.cond`, which takes for constants what its functions do not get as operands (torch 2.14)."""
    with PlainGradients():
        return (true if chosen else false)(*operands)


_NORMS = (functional.batch_norm, functional.instance_norm, torch.batch_norm, torch.instance_norm)
_REPLACED: dict[Any, Callable[..., Any]] = {
    **{normal: of_one_row(normal) for normal in _NORMS},
    functional.embedding: embedding,
    functional.embedding_bag: embedding_bag,
    torch.embedding: table_rows,
    torch.view_as_complex: view_as_complex,
    torch.ops.higher_order.cond: branch,
}


class PlainGradients(TorchFunctionMode):
    """Within this mode, torch's functions are replaced by those above."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _REPLACED.get(func, func)(*args, **(kwargs or {}))
