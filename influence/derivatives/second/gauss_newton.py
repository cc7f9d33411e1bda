"""The generalised Gauss-Newton matrix of a stage's mean loss: as an operator on kept rows, and dense."""

from __future__ import annotations

import torch
from torch import Tensor

from influence.derivatives.first.factors import nonzero_columns
from influence.derivatives.objective import BUDGET, Objective
from influence.derivatives.second.products import basis, ggn_product
from influence.derivatives.second.rows import MAX_ROW_BYTES, BatchRows, batch_rows, same_layout

MIN_IDLE_SHARE = 0.1
"""Share of the parameters from which on it pays to leave out those that no row has anything in."""


class GaussNewton:
    """The matrix over the stage's trained parameters, as an operator.

    Args:
        objective: the stage's.
        memory: bytes that its rows may take; where they do not fit, or do not exist, each product goes over the data.

    Attributes:
        kept: the rows, batch by batch; None where products are differentiated each time.
        places: of the parameters that the kept rows are over, in their order, (S,); None where these are all.
    """

    def __init__(self, objective: Objective, memory: int = MAX_ROW_BYTES):
        self.objective = objective
        self.places: Tensor | None = None
        self.kept: list[BatchRows] | None = []
        room = memory
        for block in batch_rows(objective, memory):
            if block is None or block.nbytes > room:
                self.kept = None
                return
            self.kept.append(block)
            room -= block.nbytes
        self._leave_out_idle(self.kept)

    def product(self, vectors: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """(Q, T) -> (Q, T), without ridge and damping; kept rows are multiplied in `dtype`, default their own."""
        if self.kept is None:
            return ggn_product(self.objective, vectors)
        rows = (vectors if self.places is None else vectors[:, self.places]).to(dtype or self.objective.sum_dtype)
        total = torch.zeros_like(rows)
        for kept in self.kept:
            kept.to(rows.dtype).add_product(total, rows)
        total = (total / self.objective.count).to(vectors.dtype)
        return total if self.places is None else torch.zeros_like(vectors).index_copy_(1, self.places, total)

    def _leave_out_idle(self, kept: list[BatchRows]) -> None:
        used = Used(kept) if same_layout(kept) else None
        if used and len(used.places) < (1 - MIN_IDLE_SHARE) * self.objective.trained.size:
            self.places = used.places
            for number, block in enumerate(kept):  # one after the other: all twice may not fit
                kept[number] = used.of(block)


class Used:
    """The parameters in which any row of some blocks has anything.

    Not those of inputs that are never set, nor of units that a ReLU cuts off in all examples: in trained networks often
    more than half.

    Attributes:
        places: in the whole vector, (S,), in the order of the blocks that `of` makes.
    """

    def __init__(self, batches: list[BatchRows]):
        one = batches[0]
        self._columns = _anywhere([rows.formed for rows in batches])
        self._sides = {
            place: tuple(_anywhere([rows.pairs[place][side] for rows in batches]) for side in (0, 1))
            for place in one.pairs
        }
        every = [place for s in one.slices for place in range(s.start, s.stop)]
        found = [self._columns.new_tensor(every)[self._columns]]
        for place, (inputs, outputs) in self._sides.items():
            width = one.pairs[place][0].shape[1]
            found.append((place[0] + width * outputs[:, None] + inputs).flatten())
        self.places = torch.cat(found)

    def of(self, block: BatchRows) -> BatchRows:
        """The block's rows over these parameters."""
        place = len(self._columns)
        slices, pairs = [slice(0, place)] if place else [], {}
        for key, (inputs, outputs) in self._sides.items():
            a, d = block.pairs[key]
            stop = place + len(inputs) * len(outputs)
            pairs[place, stop] = a[:, inputs], d[..., outputs]
            place = stop
        return BatchRows(block.count, block.formed[:, self._columns], slices, pairs)


def _anywhere(sides: list[Tensor]) -> Tensor:
    """Which places of the last dimension have anything in any of them."""
    return torch.stack([nonzero_columns(side) for side in sides]).any(0).nonzero().flatten()


def ggn(objective: Objective) -> Tensor:
    """The dense generalised Gauss-Newton matrix (T, T) of the mean loss, in float64."""
    size = objective.trained.size
    total = torch.zeros(size, size, dtype=torch.float64, device=objective.device)
    for block in batch_rows(objective):
        if block is None:
            return ggn_product(objective, basis(objective)).double()
        dense = block.dense(size)
        for part in dense.split(max(1, BUDGET // (8 * size))):
            rows = part.double()
            total.addmm_(rows.T, rows)
    return total / objective.count
