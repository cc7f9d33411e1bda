"""Products with many vectors leave out the places of a parameter in which no example has anything.

Those of outputs that a ReLU cuts off in all examples and of inputs that are never set: in trained networks often more
than half. Which these are, some examples tell; a batch that has something elsewhere brings its own places along, so
nothing is lost. Each batch's products depend on its own examples only, wherever a pass begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from influence.derivatives.factors import Dense, Factor, Outer
from influence.derivatives.low_rank import LowRank

MANY = 64
"""Vectors from which on leaving places out pays."""
MOST = 0.9
"""Of the places that may be left for it to pay."""

Sides = tuple[Tensor, ...]
"""Of a parameter's gradients: their factors (n, L) and (n, R) where it is a linear layer's, else themselves, formed."""


@dataclass
class Active:
    """One parameter's vectors, and where examples have anything.

    Attributes:
        whole: (Q, size), or of low rank.
        places: of each side, masks.
        vectors: of these places.
    """

    whole: Tensor | LowRank
    places: Sides
    vectors: Tensor | LowRank

    @property
    def nbytes(self) -> int:
        """Of the vectors of these places, which are held beside the whole ones."""
        several = (self.vectors.left, self.vectors.right) if isinstance(self.vectors, LowRank) else (self.vectors,)
        return sum(each.nbytes for each in several)

    def of(self, several: list[Factor]) -> tuple[list[Factor], Tensor | LowRank]:
        """A batch's factors and the vectors, of the places in which the batch or the first examples have anything."""
        sides = _sides(several)
        if sides is None or len(sides) != len(self.places):  # of another form than the first examples'
            return several, self.whole
        places = tuple(_anywhere(side) | mask for side, mask in zip(sides, self.places, strict=True))
        known = all(torch.equal(one, other) for one, other in zip(places, self.places, strict=True))
        kept = [side.index_select(1, mask.nonzero().flatten()) for side, mask in zip(sides, places, strict=True)]
        factor = Outer(kept[0][:, None, None], kept[1][:, None, None]) if len(kept) == 2 else Dense(kept[0])
        return [factor], self.vectors if known else _at(self.whole, places)


def active(vectors: Tensor | LowRank, several: list[Factor]) -> Active | None:
    """Where these examples have anything; None where leaving out the rest does not pay.

    Args:
        vectors: (Q, size), or of low rank, of one parameter.
        several: its factors of some examples.
    """
    count, device = _queries(vectors)
    sides = _sides(several) if count >= MANY and device.type == "cpu" else None  # elsewhere a look waits for kernels
    if sides is None:
        return None
    places = tuple(_anywhere(side) for side in sides)
    left = 1.0
    for mask in places:
        left *= float(mask.double().mean())
    return Active(vectors, places, _at(vectors, places)) if left <= MOST else None


def _queries(vectors: Tensor | LowRank) -> tuple[int, torch.device]:
    one = vectors.left[0] if isinstance(vectors, LowRank) else vectors
    return len(one), one.device


def _sides(several: list[Factor]) -> Sides | None:
    one = several[0]
    if len(several) > 1:
        return None
    if isinstance(one, Outer):
        if one.groups == one.positions == 1:
            return one.left[:, 0, 0], one.right[:, 0, 0]
        return (one.formed,) if one.fits else None
    return (one.gradients(),) if isinstance(one, Dense) else None


def _anywhere(side: Tensor) -> Tensor:
    """In which columns of (n, C) there is anything, (C,)."""
    return (side.amax(0) != 0) | (side.amin(0) != 0)


def _at(vectors: Tensor | LowRank, places: Sides) -> Tensor | LowRank:
    where = [mask.nonzero().flatten() for mask in places]
    if isinstance(vectors, LowRank):
        left, right = where
        return LowRank(vectors.left.index_select(2, left), vectors.right.index_select(2, right))
    if len(where) == 1:
        return vectors.index_select(1, where[0])
    matrices = vectors.unflatten(1, [len(mask) for mask in places])
    return matrices.index_select(1, where[0]).index_select(2, where[1]).flatten(1)
