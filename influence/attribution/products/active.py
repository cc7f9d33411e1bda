"""Products with many vectors leave out the places of a parameter in which no example has anything.

Those of outputs that a ReLU cuts off in all examples and of inputs that are never set: in trained networks often more
than half. Which these are, some examples tell; a batch that has something elsewhere brings its own places along, so
nothing is lost. Each batch's products depend on its own examples only, wherever a pass begins.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from influence.derivatives.first.factors import Dense, Factor, Outer, nonzero_columns

MIN_VECTORS = 64
"""Vectors from which on leaving places out pays."""
MAX_SHARE_KEPT = 0.9
"""Of the places that may be left for it to pay."""

Masks = tuple[Tensor, ...]
"""Masks of each side of a parameter's gradients: of their factors (n, L) and (n, R) where it is a linear layer's, else
of themselves, formed; empty: all of it."""


def nonzero_masks(vectors: Tensor, several: list[Factor]) -> Masks:
    """Where these examples have anything; empty where leaving out the rest does not pay.

    Args:
        vectors: (Q, size), of one parameter.
        several: its factors of some examples.
    """
    worth = len(vectors) >= MIN_VECTORS and vectors.device.type == "cpu"  # elsewhere a look waits for every kernel
    places = tuple(nonzero_columns(side) for side in _sides(several)) if worth else ()
    left = math.prod(float(mask.double().mean()) for mask in places)
    return places if left <= MAX_SHARE_KEPT else ()


def entry_count(places: Masks) -> int:
    """How many places there are."""
    return math.prod(int(mask.sum()) for mask in places)


def masked_vectors(vectors: Tensor, places: Masks) -> Tensor:
    """Vectors (Q, size) of these places only."""
    if not places:
        return vectors
    whole = places[0] if len(places) == 1 else (places[0][:, None] & places[1]).flatten()
    return vectors.index_select(1, whole.nonzero().flatten())


def masked_factors(several: list[Factor], places: Masks) -> tuple[list[Factor], Masks]:
    """A batch's factors of the places in which it or the first examples have anything, and these places.

    Args:
        several: the batch's factors.
        places: of the first examples.
    """
    sides = _sides(several)
    if not places or len(sides) != len(places):  # of another form than the first examples'
        return several, ()
    met = tuple(nonzero_columns(side) | mask for side, mask in zip(sides, places, strict=True))
    kept = [side.index_select(1, mask.nonzero().flatten()) for side, mask in zip(sides, met, strict=True)]
    factor = Outer(kept[0][:, None, None], kept[1][:, None, None]) if len(kept) == 2 else Dense(kept[0])
    known = all(torch.equal(one, other) for one, other in zip(met, places, strict=True))
    return [factor], places if known else met


def _sides(several: list[Factor]) -> tuple[Tensor, ...]:
    one = several[0]
    if len(several) > 1:
        return ()
    if isinstance(one, Outer):
        if one.groups == one.positions == 1:
            return one.left[:, 0, 0], one.right[:, 0, 0]
        return (one.formed,) if one.fits else ()
    return (one.gradients(),) if isinstance(one, Dense) else ()
