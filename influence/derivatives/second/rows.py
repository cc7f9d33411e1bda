"""The Gauss-Newton matrix in factored form: B'B / m, with a row of B for every example and direction of its outputs.

The row of direction k is r_k' J, with r_k a root of the loss's Hessian at the outputs (`roots.hessian_roots`). For
a linear layer, a row is stored as the pair of layer input and output gradient; for small layers it is multiplied out.
Stored once, the rows give products at a fraction of the cost of differentiating again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from influence.derivatives.first.factors import CORE_CACHE_BYTES, Dense, Factor, Factors, Outer, summed_gradients
from influence.derivatives.first.watch import Watch
from influence.derivatives.objective import Objective, plain_kernels
from influence.derivatives.second.outputs import OutputLoss
from influence.derivatives.second.roots import hessian_roots

MAX_ROW_BYTES = 2**32
"""Bytes that stored rows may take."""


@dataclass
class BatchRows:
    """The rows of B of a batch of n examples, K rows for each.

    Attributes:
        count: n.
        formed: (n K, S), multiplied out, over the parameters of small layers, in the order of `slices`.
        slices: positions of these parameters in the whole vector.
        pairs: (start, stop) in the whole vector -> (a (n, R), d (n, K, L)): a linear layer's rows, d (outer) a.
    """

    count: int
    formed: Tensor
    slices: list[slice]
    pairs: dict[tuple[int, int], tuple[Tensor, Tensor]]

    @property
    def nbytes(self) -> int:
        return self.formed.nbytes + sum(a.nbytes + d.nbytes for a, d in self.pairs.values())

    def split(self, examples: int) -> Iterator[BatchRows]:
        """The rows of so many examples at a time."""
        directions = len(self.formed) // self.count
        for start in range(0, self.count, examples):
            stop = min(start + examples, self.count)
            pairs = {place: (a[start:stop], d[start:stop]) for place, (a, d) in self.pairs.items()}
            yield BatchRows(stop - start, self.formed[start * directions : stop * directions], self.slices, pairs)

    def to(self, dtype: torch.dtype) -> BatchRows:
        """The same rows in another precision."""
        pairs = {place: (a.to(dtype), d.to(dtype)) for place, (a, d) in self.pairs.items()}
        return BatchRows(self.count, self.formed.to(dtype), self.slices, pairs)

    def add_product(self, total: Tensor, vectors: Tensor) -> None:
        """Add B'B V to `total`, both (Q, T)."""
        along = self._along_pairs(vectors).flatten(0, 1)  # B V
        self._add_product_of_formed(total, vectors, along)
        self._add_back_pairs(total, along)

    def times(self, vectors: Tensor) -> Tensor:
        """B V: (Q, T) -> (n K, Q)."""
        along = self._along_pairs(vectors).flatten(0, 1)
        return along.addmm_(self.formed, self._small(vectors).T) if self.slices else along

    def add_back(self, total: Tensor, along: Tensor) -> None:
        """Add B'A to `total` (Q, T), of `along` (n K, Q)."""
        self._add_back_pairs(total, along)
        if self.slices:
            self._add_small(total, along.T @ self.formed)

    def _along_pairs(self, vectors: Tensor) -> Tensor:
        along = vectors.new_zeros(self.count, len(self.formed) // self.count, len(vectors))
        for (start, stop), (a, d) in self.pairs.items():
            # A layer may have no inputs left, once those that no example uses are dropped: no size can be left open.
            matrices = vectors[:, start:stop].reshape(len(vectors) * d.shape[2], a.shape[1])
            along += torch.bmm(d, (a @ matrices.T).view(len(a), len(vectors), d.shape[2]).transpose(1, 2))
        return along

    def _add_back_pairs(self, total: Tensor, along: Tensor) -> None:
        each = along.view(self.count, -1, len(total))
        for (start, stop), (a, d) in self.pairs.items():
            inner = torch.bmm(each.transpose(1, 2), d).flatten(1)
            total[:, start:stop] += (inner.T @ a).view(len(total), stop - start)

    def _small(self, vectors: Tensor) -> Tensor:
        return torch.cat([vectors[:, s] for s in self.slices], dim=1)

    def _add_small(self, total: Tensor, small: Tensor) -> None:
        for s, found in zip(self.slices, small.split([s.stop - s.start for s in self.slices], dim=1), strict=True):
            total[:, s] += found

    def _add_product_of_formed(self, total: Tensor, vectors: Tensor, along: Tensor) -> None:
        """Add the product of the `formed` columns, a chunk of rows at a time: both products use it while cached."""
        if not self.slices:
            return
        small = self._small(vectors)
        back = torch.zeros_like(small)
        step = max(1, CORE_CACHE_BYTES // (self.formed.element_size() * self.formed.shape[1]))
        for rows, part in zip(self.formed.split(step), along.split(step), strict=True):
            part.addmm_(rows, small.T)
            back.addmm_(part.T, rows)
        self._add_small(total, back)

    def dense(self, size: int) -> Tensor:
        """B itself: (n K, size)."""
        found, place = self.formed.new_zeros(len(self.formed), size), 0
        for s in self.slices:
            found[:, s] = self.formed[:, place : place + s.stop - s.start]
            place += s.stop - s.start
        for (start, stop), (a, d) in self.pairs.items():
            found[:, start:stop] = (d[..., None] * a[:, None, None]).flatten(0, 1).flatten(1)
        return found


def batch_rows(objective: Objective, room: int = MAX_ROW_BYTES) -> Iterator[BatchRows | None]:
    """The rows batch by batch. Yields None and stops where a batch has none (see `rows_of_batch`)."""
    watch = Watch(objective, objective.trained)
    for positions, batch in objective.batches(objective.stage.data):
        block = rows_of_batch(watch, batch, positions.stop - positions.start, room)
        yield block
        if block is None:
            return


def same_layout(batches: Sequence[BatchRows]) -> bool:
    """Whether the list is not empty and all batches have the same `slices` and `pairs`."""
    return len({(tuple(b.pairs), tuple((s.start, s.stop) for s in b.slices)) for b in batches}) == 1


def rows_of_batch(watch: Watch, batch: object, count: int, room: int) -> BatchRows | None:
    """The rows of one batch. None if they need more than `room` bytes, or if the tape or the loss gives none."""
    objective, layout = watch.objective, watch.objective.trained
    with plain_kernels():
        outputs, tape = watch.recorded(batch, count)
        if watch.foreign or tape.foreign:
            return None
        curve = OutputLoss(objective, outputs, batch)
        directions = hessian_roots(curve, count)
        if directions is None:
            return None
        rows, taken = [], 0
        for direction in directions:
            sides = [side.to(leaf.dtype) for side, leaf in zip(direction, curve.leaves, strict=True)]
            factors = tape.backward(curve.leaves, sides, again=True)
            taken += sum(_bytes(several, objective.sum_dtype.itemsize) for several in factors.values())
            if taken > room or tape.foreign:
                return None
            rows.append(_compact(factors))
    return _stacked(rows, layout.slices, count, objective)


def _compact(factors: Factors) -> dict[str, list[Factor]]:
    """A linear layer's factor as it is; others (several factors or positions) summed and multiplied out."""
    found: dict[str, list[Factor]] = {}
    for name, several in factors.items():
        if _is_pair(several):
            found[name] = several
        else:
            found[name] = [Dense(summed_gradients(several))]
    return found


def _is_pair(several: list[Factor]) -> bool:
    return len(several) == 1 and isinstance(several[0], Outer) and several[0].groups == several[0].positions == 1


def _bytes(several: list[Factor], itemsize: int) -> int:
    """Bytes of what `_compact` would keep of these factors."""
    one = several[0]
    if _is_pair(several):
        return one.left.nbytes  # type: ignore[attr-defined]
    return math.prod(one.shape) * itemsize


def _shares_input(one: Outer, other: Factor | None) -> bool:
    return other is None or (isinstance(other, Outer) and other.right.data_ptr() == one.right.data_ptr())


def _stacked(
    rows: list[dict[str, list[Factor]]], slices: dict[str, slice], count: int, objective: Objective
) -> BatchRows:
    formed, pairs = {}, {}
    for name in (name for name in slices if any(name in row for row in rows)):
        kinds = [row[name][0] if name in row else None for row in rows]
        first = next(kind for kind in kinds if kind is not None)
        if isinstance(first, Outer) and all(_shares_input(first, kind) for kind in kinds):
            went_in = first.right[:, 0, 0]
            came_back = [torch.zeros_like(first.left) if k is None else k.left for k in kinds]  # type: ignore[attr-defined]
            pairs[slices[name].start, slices[name].stop] = (went_in, torch.cat([c[:, 0] for c in came_back], dim=1))
        else:
            formed[name] = kinds
    places = [slices[name] for name in formed]
    sizes = [place.stop - place.start for place in places]
    whole = torch.zeros(count, len(rows), sum(sizes), dtype=objective.sum_dtype, device=objective.device)
    for part, kinds in zip(whole.split(sizes, dim=2), formed.values(), strict=True):
        for number, kind in enumerate(kinds):
            if kind is not None:
                part[:, number] = kind.gradients()
    return BatchRows(count, whole.flatten(0, 1), places, pairs)
