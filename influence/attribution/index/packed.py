"""Examples' gradients as an index keeps them: without padding, in few bytes, ready for one product with a new query.

Where a layer is used at several positions of an example, its inputs and what came back to its outputs are kept of each
position. What came back to a wide output, a language model's over its vocabulary, is kept as its largest entries
and the coordinates of the rest in its main directions.
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
"""Outputs at several positions beyond which they are narrowed, in an index that is not exact anyway."""
LARGEST_ENTRIES, MAIN_DIRECTIONS = 8, 128
"""Entries and coordinates that are kept of a wide output."""
BASIS_POSITIONS = 4096
"""Positions from which the main directions are found."""
POSITIONS_AT_ONCE = 8192
"""Positions that are multiplied at once: what processors' caches hold."""
COLUMN_MULTIPLE = 16
"""Columns of sides are kept in multiples of it: a product with 48 of them takes less time than one with 35."""


@dataclass(frozen=True)
class Formed:
    """Gradients themselves, where any of them has something.

    Attributes:
        gradients: (n, S), of every example.
        places: in the parameter, (S,).
    """

    gradients: Tensor
    places: Tensor

    def add_dots(self, scores: Tensor, vectors: Tensor) -> None:
        """Add the dot products with `vectors` (Q, size) to `scores` (n, Q)."""
        rows, places = self.gradients.to(scores.device), self.places.to(vectors.device)
        scores += rows @ vectors[:, places].to(scores.device, rows.dtype).T


@dataclass(frozen=True)
class Pairs:
    """Gradients that are sums over positions t of left[t] (outer) right[t], where any of these has something.

    Attributes:
        left: (T, g, L).
        right: (T, g, R).
        places: of their products in a group's part of the parameter, (L, R).
        example: (T,), whose position it is.
    """

    left: Tensor
    right: Tensor
    places: Tensor
    example: Tensor

    def add_dots(self, scores: Tensor, vectors: Tensor) -> None:
        # Where bfloat16 has no instructions, its products take several times as long as the change to float32.
        dtype = self.right.dtype if halves_pay(scores.device) else scores.dtype
        places = self.places.to(vectors.device)
        matrices = vectors.view(len(vectors), self.left.shape[1], -1)[:, :, places].to(scores.device, dtype)
        for part in _parts(len(self.left)):
            left, right = (side[part].to(scores.device, dtype) for side in (self.left, self.right))
            example = self.example[part].to(scores.device).long()
            for q, matrix in enumerate(matrices):
                # The longer side is multiplied away, the shorter one summed.
                wide = left.shape[2] > right.shape[2]
                one, other = (_times(left, matrix), right) if wide else (_times(right, matrix.mT), left)
                scores[:, q].index_add_(0, example, torch.linalg.vecdot(one, other).sum(1).to(scores.dtype))


@dataclass(frozen=True)
class Narrowed:
    """`Pairs` of one group whose left sides are wide.

    Attributes:
        index, values: (T, k), the largest entries of the left sides.
        coordinates: (T, r), of the rest.
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
        example: (T,), whose position it is.
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
    """A batch's factor in the smallest form: formed, where that takes less than its parts.

    Args:
        factor: of n examples.
        dtype: of the numbers.
        basis: main directions of a wide output, see `directions`.
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
    """Main directions of every wide output, by `number|parameter`, from the factors of some batches."""
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
    """Whether it is of a layer with many outputs, used at several positions."""
    return isinstance(factor, Outer) and factor.groups == 1 < factor.positions and factor.sides[0] > WIDE_OUTPUT


def tensors_of(batches: Sequence[Mapping[str, list[Packed]]], starts: Sequence[int]) -> dict[str, Tensor]:
    """Packed batches joined, as named tensors; `starts` are the first examples of each.

    Where no example has anything, as at units that a ReLU cuts off, gradients and sides of pairs are cut.
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
    """Gradients or sides of pairs where any has something, and the places of what is left."""
    found = {}
    for side, what in enumerate(what for what in ("gradients", "left", "right") if what in whole):
        empty = ~nonzero_columns(whole[what])
        width = 1 if what == "gradients" else COLUMN_MULTIPLE
        count = math.ceil(int((~empty).sum()) / width) * width
        used = empty.int().argsort(stable=True)[:count].sort().values
        found[what], places = whole[what][..., used], places.index_select(side, used.to(places.device))
    return found | {"places": places}


def from_tensors(tensors: Mapping[str, Tensor], bases: Mapping[str, Tensor]) -> Iterator[tuple[str, Packed]]:
    """(parameter, packed) of what `tensors_of` made."""
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
    """Of (n, g, P, L): which positions (n, P) have anything, and the example (T,) of each that has."""
    where = (sides != 0).any(3).any(1)
    return where, where.nonzero()[:, 0].int()


def _split(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of rows (T, L): places and values of the largest entries, (T, k) each, and the rows without them."""
    index = rows.abs().topk(LARGEST_ENTRIES, dim=1).indices
    return index, rows.gather(1, index), rows.scatter(1, index, 0.0)


def _times(rows: Tensor, matrix: Tensor) -> Tensor:
    """(T, g, m) times (g, m, k): (T, g, k)."""
    if len(matrix) == 1:
        return (rows[:, 0] @ matrix[0])[:, None]
    return torch.matmul(rows.transpose(0, 1), matrix).transpose(0, 1)


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, start + POSITIONS_AT_ONCE) for start in range(0, count, POSITIONS_AT_ONCE))
