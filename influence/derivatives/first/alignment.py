"""Alignment: which rows (places of a tensor's first dimension) belong to which example of a batch.

A check of one batch holds for others only if rows are aligned in the same way there. That is so while a model reshapes,
concatenates and cuts at the same places. It is not so where values of the data move rows (indices, sorting, products
with a matrix made of the data), or where the number of rows is no product of the tensor's own shape (examples of
different sizes, put end to end).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LAYOUTS = ("first", "first, stacked", "second", "second, stacked", "shared")
"""Where a call's output counts the examples: in its first or second dimension, or nowhere, because all examples share
the output. A dimension of k n places for n examples has k places in a row for each (place r belongs to example r // k)
or, stacked, k copies of the batch end to end (r belongs to example r % n), as pairs of answers to compare."""


DERIVED = "derived"
"""In place of a layout: the call's output, of parameters and constants alone, has no place for an example at all."""


def first_guess(output: Tensor, count: int) -> str:
    """Guess a call's layout (see `LAYOUTS`) from its output's shape."""
    shape = output.shape
    if len(shape) == 0 or shape[0] == count:
        return "first"
    if len(shape) > 2 and shape[1] == count:
        return "second"
    if shape[0] == 1:
        return "shared"
    return "first"


def examples_in(shape: torch.Size, layout: str) -> int:
    """Places of the dimension that counts the examples; 0 if there is no such dimension."""
    return (*shape, 0, 0)[layout.startswith("second")]


def arranged(tensor: Tensor, layout: str, count: int) -> Tensor:
    """The tensor with the dimension that counts the examples first, and each example's places in a row."""
    rows = tensor.transpose(0, 1) if layout.startswith("second") else tensor
    if not layout.endswith("stacked") or len(rows) == count or len(rows) % count:
        return rows
    return rows.unflatten(0, (-1, count)).transpose(0, 1).flatten(0, 1)


class Alignment:
    """What the calls of one forward pass tell of the alignment of rows.

    Args:
        count: examples in the batch.
        constants: ids of the model's buffers, and of what is computed of them alone.
        frozen: parameters that are not watched.

    Attributes:
        sizes: numbers of rows that come from the number of examples by reshaping and concatenating.
        cuts: calls that cut along the first dimension, with their arguments: a part of the batch's pattern.
        by_values: whether values of the data move rows.
    """

    def __init__(self, count: int, constants: set[int], frozen: Iterable[Tensor] = ()):
        self.count, self.constants = count, constants
        self.frozen = {id(tensor) for tensor in frozen}
        self.sizes = {count}
        self.cuts: list[tuple[str, str]] = []
        self.by_values = False

    def see(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        """Take notice of one call without watched parameters."""
        kind = _KINDS.get(func)
        if kind is None or self.count == 1:
            return
        if not args or any(isinstance(tensor, Tensor) and tensor.is_nested for tensor in (args[0], output)):
            self.by_values = True
        else:
            kind(self, func, args, kwargs, output)

    def _counts_examples(self, tensor: Tensor, dim: int) -> bool:
        """Whether a dimension may be that of the examples."""
        if dim == 0:
            return len(tensor) > 0 and len(tensor) % self.count == 0
        return dim == 1 and tensor.shape[1] in self.sizes and len(tensor) not in self.sizes

    def holds(self, output: Tensor, layout: str) -> bool:
        """Whether the number of rows of a call's output comes from the number of examples."""
        return self.count == 1 or output.dim() == 0 or examples_in(output.shape, layout) in self.sizes

    def _is_fixed(self, tensor: Any) -> bool:
        return id(tensor) in self.constants or id(tensor) in self.frozen

    def _fold(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        sources = args[0] if isinstance(args[0], list | tuple) else args[:1]
        if func in _REPEATS and any(isinstance(v, Tensor) for v in (*args[1:], *kwargs.values())):
            self.by_values = True
        elif output.dim() and len(output) and len(output) % self.count == 0 and all(map(self._is_of_batch, sources)):
            self.sizes.add(len(output))

    def _is_of_batch(self, tensor: Tensor) -> bool:
        return not self.sizes.isdisjoint(tensor.shape[:2])

    def _pick(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        dim = _dimension(func, args, kwargs)
        moves = dim is None or dim == 0 or self._counts_examples(args[0], dim)
        self.by_values |= moves and not self._is_fixed(args[0])

    def _move(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        self.by_values = True

    def _look_up(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        self.by_values |= not self._is_fixed(args[1] if len(args) > 1 else kwargs.get("weight"))

    def _where(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        self.by_values |= len(args) + len(kwargs) == 1

    def _multiply(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        """Products that sum over the rows of a tensor which is no parameter."""
        if func is torch.einsum:
            summed = _summed_by_einsum(args)
        else:
            right = args[-1] if isinstance(args[-1], Tensor) else kwargs.get("mat2", kwargs.get("other"))
            alone = isinstance(right, Tensor) and (right.dim() < 3 or len(right) == 1)
            summed = [right.flatten(0, -2) if right.dim() > 2 else right] if alone else []
        for tensor in summed:
            self.by_values |= len(tensor) > 1 and len(tensor) % self.count == 0 and not self._is_fixed(tensor)

    def _cut(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        dim = _dimension(func, args, kwargs)
        if any(isinstance(v, Tensor) for v in (*args[1:], *kwargs.values())):
            self.by_values = True
        elif dim is None or self._counts_examples(args[0], dim):
            self.cuts.append((func.__name__, f"{args[1:]} {kwargs}"))

    def _index(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        tensor, index = args[0], args[1] if isinstance(args[1], tuple) else (args[1],)
        for dim, place in _places(index, tensor.dim()):
            if not isinstance(place, slice | int):
                if dim == 0 or tensor.shape[dim] == self.count:
                    self.by_values |= not self._is_fixed(tensor) and not _in_order(place, tensor.shape[dim])
                    return  # indices of further dimensions, if any, go along with these
            elif place != slice(None) and self._counts_examples(tensor, dim):
                self.cuts.append((func.__name__, str(place)))


def _places(index: tuple[Any, ...], dimensions: int) -> Iterator[tuple[int, Any]]:
    """(dimension, what it is indexed by) of a tensor with so many dimensions."""
    index = tuple(place for place in index if place is not None)
    for number, place in enumerate(index):
        if place is Ellipsis:
            rest = index[number + 1 :]
            yield from zip(range(dimensions - len(rest), dimensions), rest, strict=True)
            return
        if number < dimensions:
            yield number, place


def _dimension(func: Any, args: Any, kwargs: Any) -> int | None:
    """The dimension along which a call picks or cuts; None if this is not one number."""
    place, default = _DIMENSIONS[func]
    dim = kwargs.get("dim", args[place] if len(args) > place else default)
    known = isinstance(args[0], Tensor) and isinstance(dim, int) and args[0].dim()
    return dim % args[0].dim() if known else None


def _summed_by_einsum(args: Any) -> list[Tensor]:
    """The factors whose first dimension is not that of the result."""
    if not isinstance(args[0], str) or "->" not in args[0]:
        return [tensor for tensor in args[1:] if isinstance(tensor, Tensor) and tensor.dim()]
    sides, result = args[0].replace(" ", "").split("->")
    tensors = args[1] if isinstance(args[1], list | tuple) else args[1:]
    return [t for s, t in zip(sides.split(","), tensors, strict=True) if s and s[0] != "." and s[0] != result[:1]]


def _in_order(index: Any, extent: int) -> bool:
    place = torch.as_tensor(index)
    if place.dtype == torch.bool:
        return bool(place.dim() == 1 and place.all())
    column = place.dim() > 0 and len(place) == place.numel() == extent  # further dimensions of length 1 are broadcast
    return column and torch.equal(place.flatten(), torch.arange(extent, device=place.device))


def _named(*names: str) -> list[Any]:
    """The functions of these names, of `torch` and as methods."""
    found = [getattr(where, name, None) for name in names for where in (torch, Tensor, torch._C._VariableFunctions)]
    return [func for func in found if func is not None]


def _along(place: int, default: int | None, *names: str) -> dict[Any, tuple[int, int | None]]:
    return dict.fromkeys(_named(*names), (place, default))


_REPEATS = set(_named("repeat_interleave"))
_PICKS: dict[Any, tuple[int, int | None]] = {
    **_along(1, None, "index_select", "gather", "index_add", "index_add_", "index_copy", "index_copy_", "index_fill_"),
    **_along(1, None, "scatter", "scatter_", "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_"),
    **_along(1, None, "index_reduce", "index_reduce_"),
    **_along(1, -1, "sort", "argsort"),
    **_along(2, -1, "topk"),
    **_along(2, None, "take_along_dim"),
}
_CUTS: dict[Any, tuple[int, int | None]] = {
    **_along(2, 0, "split", "split_with_sizes", "chunk", "tensor_split"),
    **_along(1, 0, "unbind"),
    **_along(1, None, "narrow", "select"),
    **_along(2, None, "roll"),
}
_DIMENSIONS = {**_PICKS, **_CUTS}
"""Function -> the place of its dimension among the arguments, and that dimension's default."""

_KINDS: dict[Any, Callable[..., None]] = {
    **dict.fromkeys(
        [
            *_named("view", "reshape", "flatten", "unflatten", "repeat", "tile", "repeat_interleave"),
            *_named("cat", "concat", "concatenate", "vstack", "row_stack"),
        ],
        Alignment._fold,
    ),
    **dict.fromkeys(_PICKS, Alignment._pick),
    **dict.fromkeys(
        [
            *_named("masked_select", "masked_scatter", "masked_scatter_", "nonzero", "argwhere", "take", "put", "put_"),
            *_named("index_put", "index_put_", "unique", "unique_consecutive", "segment_reduce", "msort"),
            *_named("_pack_padded_sequence", "_pad_packed_sequence", "to_padded_tensor", "_nested_tensor_from_mask"),
            *_named("sparse_coo_tensor", "sparse_csr_tensor", "to_sparse", "_nested_view_from_buffer"),
            *(torch.nested.nested_tensor, torch.nested.as_nested_tensor, torch.nested.to_padded_tensor),
            *(torch.nested.nested_tensor_from_jagged, torch.nested.narrow, torch.sparse.mm),
        ],
        Alignment._move,
    ),
    **dict.fromkeys([functional.embedding, functional.embedding_bag], Alignment._look_up),
    **dict.fromkeys(_named("where"), Alignment._where),
    **dict.fromkeys(
        [*_named("mm", "bmm", "matmul", "mv", "addmm", "spmm", "smm", "einsum"), Tensor.__matmul__, Tensor.__rmatmul__],
        Alignment._multiply,
    ),
    **dict.fromkeys(_CUTS, Alignment._cut),
    **dict.fromkeys([Tensor.__getitem__, Tensor.__setitem__], Alignment._index),
}
"""Function -> the method that takes notice of its calls."""
