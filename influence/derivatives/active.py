"""Products with many vectors leave out the places of a parameter in which no example has anything.

Those of outputs that a ReLU cuts off in all examples and of inputs that are never set: in trained networks often more
than half. Which these are, some examples tell; a batch that has something elsewhere brings its own places along, so
nothing is lost. Each batch's products depend on its own examples only, wherever a pass begins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from influence.derivatives.factors import Dense, Factor, Outer, anywhere
from influence.derivatives.low_rank import LowRank

MANY = 64
"""Vectors from which on leaving places out pays."""
MOST = 0.9
"""Of the places that may be left for it to pay."""

Sides = tuple[Tensor, ...]
"""Of a parameter's gradients: their factors (n, L) and (n, R) where it is a linear layer's, else themselves, formed."""


@dataclass(frozen=True)
class Active:
    """Where examples have anything in one parameter.

    Attributes:
        vectors: (Q, size), whole.
        places: of each side, masks.
        rows: of the vectors that are meant; None: all.
    """

    vectors: Tensor
    places: Sides
    rows: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Of the vectors of these places, which are held beside the whole ones."""
        left = math.prod(int(mask.sum()) for mask in self.places)
        return len(self.vectors) * left * self.vectors.element_size()

    def there(self) -> Tensor:
        """The vectors of these places."""
        return _at(self._whole(), self.places)

    def of(self, several: list[Factor], vectors: Tensor | LowRank) -> tuple[list[Factor], Tensor | LowRank]:
        """A batch's factors, and vectors, of the places in which the batch or the first examples have anything.

        Args:
            several: the batch's factors.
            vectors: those of the first examples' places, or what stands for them; given back unless the batch has
                something elsewhere.
        """
        sides = _sides(several)
        if sides is None or len(sides) != len(self.places):  # of another form than the first examples'
            return several, self._whole()
        places = tuple(anywhere(side) | mask for side, mask in zip(sides, self.places, strict=True))
        known = all(torch.equal(one, other) for one, other in zip(places, self.places, strict=True))
        kept = [side.index_select(1, mask.nonzero().flatten()) for side, mask in zip(sides, places, strict=True)]
        factor = Outer(kept[0][:, None, None], kept[1][:, None, None]) if len(kept) == 2 else Dense(kept[0])
        return [factor], vectors if known else _at(self._whole(), places)

    def _whole(self) -> Tensor:
        return self.vectors if self.rows is None else self.vectors[self.rows]


def active(vectors: Tensor, several: list[Factor]) -> Active | None:
    """Where these examples have anything; None where leaving out the rest does not pay.

    Args:
        vectors: (Q, size), of one parameter.
        several: its factors of some examples.
    """
    worth = len(vectors) >= MANY and vectors.device.type == "cpu"  # elsewhere a look waits for every kernel
    sides = _sides(several) if worth else None
    if sides is None:
        return None
    places = tuple(anywhere(side) for side in sides)
    left = math.prod(float(mask.double().mean()) for mask in places)
    return Active(vectors, places) if left <= MOST else None


def _sides(several: list[Factor]) -> Sides | None:
    one = several[0]
    if len(several) > 1:
        return None
    if isinstance(one, Outer):
        if one.groups == one.positions == 1:
            return one.left[:, 0, 0], one.right[:, 0, 0]
        return (one.formed,) if one.fits else None
    return (one.gradients(),) if isinstance(one, Dense) else None


def _at(vectors: Tensor, places: Sides) -> Tensor:
    where = [mask.nonzero().flatten() for mask in places]
    if len(where) == 1:
        return vectors.index_select(1, where[0])
    matrices = vectors.unflatten(1, [len(mask) for mask in places])
    return matrices.index_select(1, where[0]).index_select(2, where[1]).flatten(1)
