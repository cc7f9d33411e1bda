"""Per-example gradients as an index stores them: without padding and zero columns, ready for products with a query.

Of a layer that is used at several positions (tokens) of an example, input and output gradient of every position are
stored. The output gradients of a wide layer (a language model's logits) are stored as their largest entries, plus the
rest projected onto its main directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from influence.attribution.products.compression import halves_pay
from influence.derivatives.first.factors import Factor, Outer, TableRows, nonzero_columns

WIDE_OUTPUT = 512
"""Outputs of a layer above which its output gradients are projected, in an index in bfloat16."""
LARGEST_ENTRIES, MAIN_DIRECTIONS = 8, 128
"""Entries, and coordinates of the projected rest, that are stored of a wide output gradient."""
BASIS_POSITIONS = 4096
"""Positions that the main directions are computed from."""
POSITIONS_AT_ONCE = 8192
"""Positions that are multiplied at once: as many as fit a CPU's cache."""
COLUMN_MULTIPLE = 16
"""The number of stored columns is rounded up to a multiple of this: products are faster so (48 columns than 35)."""


@dataclass(frozen=True)
class Formed:
    """Dense gradients, stored only at entries that are non-zero in at least one example.

    Attributes:
        gradients: (n, S).
        places: (S,), indices of the entries in the parameter.
    """

    gradients: Tensor
    places: Tensor

    def add_dots(self, scores: Tensor, vectors: Tensor) -> None:
        """Add the dot products with `vectors` (Q, size) to `scores` (n, Q)."""
        rows, places = self.gradients.to(scores.device), self.places.to(vectors.device)
        scores += rows @ vectors[:, places].to(scores.device, rows.dtype).T


@dataclass(frozen=True)
class Pairs:
    """Gradients that are sums over positions t of left[t] (outer) right[t], without columns that are zero everywhere.

    Attributes:
        left: (T, g, L).
        right: (T, g, R).
        places: (L, R), indices of the products' entries in a group's part of the parameter.
        example: (T,), the example that each position belongs to.
    """

    left: Tensor
    right: Tensor
    places: Tensor
    example: Tensor

    def add_dots(self, scores: Tensor, vectors: Tensor) -> None:
        # Hardware without bfloat16 instructions multiplies bfloat16 more slowly than it converts it to float32.
        dtype = self.right.dtype if halves_pay(scores.device) else scores.dtype
        places = self.places.to(vectors.device)
        matrices = vectors.view(len(vectors), self.left.shape[1], -1)[:, :, places].to(scores.device, dtype)
        for part in _parts(len(self.left)):
            left, right = (side[part].to(scores.device, dtype) for side in (self.left, self.right))
            example = self.example[part].to(scores.device).long()
            for q, matrix in enumerate(matrices):
                # A matrix product over the longer side, a dot product over the shorter.
                wide = left.shape[2] > right.shape[2]
                one, other = (_times(left, matrix), right) if wide else (_times(right, matrix.mT), left)
                scores[:, q].index_add_(0, example, torch.linalg.vecdot(one, other).sum(1).to(scores.dtype))


@dataclass(frozen=True)
class Narrowed:
    """`Pairs` of one group whose left sides are wide.

    Attributes:
        index, values: (T, k), indices and values of the largest entries of the left sides.
        coordinates: (T, r), of the other entries in the basis.
        basis: (L, r).
        right: (T, R).
        example: (T,).
    """

    index: Tensor
    values: Tensor
    coordinates: Tensor
    basis: Tensor
    right: Tensor
    example: Tensor

    def add_dots(self, scores: Tensor, vectors: Tensor) -> None:
        basis = self.basis.to(scores.device, self.right.dtype)
        matrices = vectors.to(basis).view(len(vectors), len(basis), -1)  # (Q, L, R)
        for part in _parts(len(self.right)):
            index, values, coordinates, right = (
                each[part].to(scores.device) for each in (self.index, self.values, self.coordinates, self.right)
            )
            example = self.example[part].to(scores.device).long()
            for q, matrix in enumerate(matrices):
                rest = torch.linalg.vecdot(right @ (matrix.T @ basis), coordinates)
                largest = torch.linalg.vecdot((matrix[index.long()] @ right[:, :, None])[..., 0], values)
                scores[:, q].index_add_(0, example, (rest + largest).to(scores.dtype))


@dataclass(frozen=True)
class Entries:
    """Gradients that add values[t] to row index[t] of a parameter: an embedding's.

    Attributes:
        index: (T,).
        values: (T, E).
        example: (T,), the example that each entry belongs to.
    """

    index: Tensor
    values: Tensor
    example: Tensor

    def add_dots(self, scores: Tensor, vectors: Tensor) -> None:
        values, index = self.values.to(scores.device), self.index.to(scores.device).long()
        example = self.example.to(scores.device).long()
        for q, table in enumerate(vectors.to(values).view(len(vectors), -1, values.shape[1])):
            scores[:, q].index_add_(0, example, torch.linalg.vecdot(table[index], values).to(scores.dtype))


Packed = Formed | Pairs | Narrowed | Entries


def packed(factor: Factor, dtype: torch.dtype, basis: Tensor | None = None) -> Packed:
    """A batch's factor in its smallest form: multiplied out where that takes fewer bytes than the two sides.

    Args:
        factor: of n examples.
        dtype: of the stored numbers.
        basis: (L, r), main directions of a wide output, see `directions`; None stores all entries.
    """
    if isinstance(factor, TableRows) and factor.values[0].numel() < factor.shape[1]:
        where, example = _occupied(factor.values[:, None])
        values = factor.values[where].to(dtype)
        return Entries(factor.index[where].int(), values, example)
    if not isinstance(factor, Outer) or factor.left[0].numel() + factor.right[0].numel() >= factor.shape[1]:
        gradients = factor.gradients().to(dtype)
        return Formed(gradients, _places(gradients.shape[1:]))
    where, example = _occupied(factor.left)
    left, right = (side.transpose(1, 2)[where] for side in (factor.left, factor.right))  # (T, g, side)
    if basis is None:
        return Pairs(left.to(dtype), right.to(dtype), _places((left.shape[2], right.shape[2])), example)
    index, values, rest = _split(left[:, 0])
    coordinates = (rest @ basis.to(rest)).to(dtype)
    return Narrowed(index.int(), values.to(dtype), coordinates, basis, right[:, 0].to(dtype), example)


def directions(batches: Iterable[Mapping[str, list[Factor]]], seed: int = 0) -> dict[str, Tensor]:
    """Main directions (L, r) of every wide output gradient, by `number|parameter`: a randomised SVD of some batches."""
    rows: dict[str, list[Tensor]] = {}
    for factors in batches:
        for name, several in factors.items():
            for number, factor in enumerate(several):
                if is_wide(factor):
                    left = factor.left[:, 0][_occupied(factor.left)[0]]  # type: ignore[attr-defined]
                    rows.setdefault(f"{number}|{name}", []).append(_split(left)[2])
    found = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for key, found_rows in rows.items():
            every = torch.cat(found_rows)
            some = every[torch.randperm(len(every))[:BASIS_POSITIONS].to(every.device)]
            found[key] = torch.svd_lowrank(some, min(MAIN_DIRECTIONS, *some.shape))[2]
    return found


def is_wide(factor: Factor) -> bool:
    """Whether the factor is of a layer with many outputs that is used at several positions."""
    return isinstance(factor, Outer) and factor.groups == 1 < factor.positions and factor.sides[0] > WIDE_OUTPUT


def tensors_of(batches: Sequence[Mapping[str, list[Packed]]], starts: Sequence[int]) -> dict[str, Tensor]:
    """Packed batches, concatenated, as named tensors. `starts` are the positions of each batch's first example.

    Columns of gradients and of sides that are zero in all examples (dead ReLUs, say) are dropped.
    """
    joined: dict[str, list[Packed]] = {}
    for start, batch in zip(starts, batches, strict=True):
        for name, several in batch.items():
            for number, each in enumerate(several):
                moved = each if isinstance(each, Formed) else replace(each, example=each.example + start)
                joined.setdefault(f"{number}|{name}", []).append(moved)
    found = {}
    for key, parts in joined.items():
        whole = {
            field.name: torch.cat([getattr(part, field.name) for part in parts])
            for field in fields(parts[0])
            if field.name not in ("basis", "places")
        }
        if isinstance(parts[0], Formed | Pairs):
            whole |= _cut(whole, parts[0].places)
        for what, tensor in whole.items():
            found[f"{type(parts[0]).__name__}|{what}|{key}"] = tensor.cpu().contiguous()
    return found


def _cut(whole: Mapping[str, Tensor], places: Tensor) -> dict[str, Tensor]:
    """Gradients or sides without zero columns, and the `places` of the columns that are left."""
    found = {}
    for side, what in enumerate(what for what in ("gradients", "left", "right") if what in whole):
        empty = ~nonzero_columns(whole[what])
        width = 1 if what == "gradients" else COLUMN_MULTIPLE
        count = math.ceil(int((~empty).sum()) / width) * width
        used = empty.int().argsort(stable=True)[:count].sort().values
        found[what], places = whole[what][..., used], places.index_select(side, used.to(places.device))
    return found | {"places": places}


def from_tensors(tensors: Mapping[str, Tensor], bases: Mapping[str, Tensor]) -> Iterator[tuple[str, Packed]]:
    """(parameter, packed gradients), from the named tensors that `tensors_of` gives."""
    kinds: dict[str, Callable[..., Packed]] = {"Formed": Formed, "Pairs": Pairs, "Entries": Entries}
    parts: dict[tuple[str, str, str], dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        kind, what, number, name = key.split("|", 3)
        parts.setdefault((kind, number, name), {})[what] = tensor
    for (kind, number, name), of in parts.items():
        if kind == "Narrowed":
            yield name, Narrowed(**of, basis=bases[f"{number}|{name}"])
        else:
            yield name, kinds[kind](**of)


def _places(shape: Sequence[int]) -> Tensor:
    return torch.arange(math.prod(shape), dtype=torch.int32).view(*shape)


def _occupied(sides: Tensor) -> tuple[Tensor, Tensor]:
    """Non-zero positions of (n, g, P, L): the mask (n, P), and the example (T,) of each of them."""
    where = (sides != 0).any(3).any(1)
    return where, where.nonzero()[:, 0].int()


def _split(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Indices and values (T, k) of the largest entries of rows (T, L), and the rows with these entries set to 0."""
    index = rows.abs().topk(LARGEST_ENTRIES, dim=1).indices
    return index, rows.gather(1, index), rows.scatter(1, index, 0.0)


def _times(rows: Tensor, matrix: Tensor) -> Tensor:
    """(T, g, m) times (g, m, k): (T, g, k)."""
    if len(matrix) == 1:
        return (rows[:, 0] @ matrix[0])[:, None]
    return torch.matmul(rows.transpose(0, 1), matrix).transpose(0, 1)


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, start + POSITIONS_AT_ONCE) for start in range(0, count, POSITIONS_AT_ONCE))
