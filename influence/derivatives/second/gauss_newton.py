"""The generalised Gauss-Newton matrix of a stage's mean loss: as an operator over stored rows, and dense.

G = 1/m sum over examples of J' (d2 loss / d outputs2) J, J the Jacobian of the example's outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from influence.derivatives.first.factors import nonzero_columns
from influence.derivatives.objective import BUDGET, Objective
from influence.derivatives.second.products import basis, ggn_product
from influence.derivatives.second.rows import MAX_ROW_BYTES, BatchRows, batch_rows, same_layout

MIN_IDLE_SHARE = 0.1
"""Share of the parameters that must be zero in all rows for dropping their columns to pay."""


class GaussNewton:
    """The matrix over the stage's trained parameters, as an operator.

    Args:
        objective: the stage's.
        memory: bytes for its rows. Where they do not fit or do not exist, each product is a pass over the data.

    Attributes:
        kept: the stored rows, batch by batch; None where each product is a pass over the data.
        places: (S,), positions in the whole vector of the columns that the rows have; None if they have all.
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
        """Products G v, (Q, T) -> (Q, T), without ridge and damping. Stored rows are multiplied in `dtype`."""
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
            for number, block in enumerate(kept):  # one batch at a time: two copies of all rows may not fit
                kept[number] = used.of(block)


class Used:
    """The columns (parameters) that are non-zero in at least one row.

    The others belong to unused inputs or to dead ReLUs: in trained networks often more than half.

    Attributes:
        places: (S,), positions of the columns in the whole vector, in the order that `of` puts them in.
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
        """The batch's rows, with these columns only."""
        place = len(self._columns)
        slices, pairs = [slice(0, place)] if place else [], {}
        for key, (inputs, outputs) in self._sides.items():
            a, d = block.pairs[key]
            stop = place + len(inputs) * len(outputs)
            pairs[place, stop] = a[:, inputs], d[..., outputs]
            place = stop
        return BatchRows(block.count, block.formed[:, self._columns], slices, pairs)


def _anywhere(sides: list[Tensor]) -> Tensor:
    """Indices of the last dimension with a non-zero entry in at least one of the tensors."""
    return torch.stack([nonzero_columns(side) for side in sides]).any(0).nonzero().flatten()


def ggn(objective: Objective) -> Tensor:
    """The dense generalised Gauss-Newton matrix (T, T) of the mean loss, in float64."""
    found = ggn_of_rows(objective)
    return ggn_product(objective, basis(objective)).double() if found is None else found


def ggn_of_rows(objective: Objective) -> Tensor | None:
    """The same matrix by a few passes over the data; None where its rows cannot be had example by example."""
    size = objective.trained.size
    total = torch.zeros(size, size, dtype=torch.float64, device=objective.device)
    for block in batch_rows(objective):
        if block is None:
            return None
        of_one = 8 * size * max(1, len(block.formed) // block.count)  # bytes of an example's rows, multiplied out
        for part in block.split(max(1, BUDGET // of_one)):
            rows = part.dense(size).double()
            total.addmm_(rows.T, rows)
    return total / objective.count
