"""Skip the entries of a parameter whose gradient is zero in every example (dead ReLUs, unused inputs).

In trained networks these are often more than half. A few examples give a mask of the non-zero entries for all batches.
A batch with non-zero entries outside of the mask gets a larger mask of its own, so the products are exact. The products
of a batch depend on its own examples only, wherever a pass begins.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from influence.derivatives.first.factors import Dense, Factor, Outer, nonzero_columns

MIN_VECTORS = 64
"""With fewer vectors than this, masking costs more than it saves."""
MAX_SHARE_KEPT = 0.9
"""Largest share of non-zero entries for which masking pays."""

Masks = tuple[Tensor, ...]
"""Masks of the non-zero entries of a parameter's gradients: one for each side, (L,) and (R,), of a linear layer's outer
products; one, (size,), for gradients that are multiplied out. Empty: no entries are skipped."""


def nonzero_masks(vectors: Tensor, several: list[Factor]) -> Masks:
    """Masks of the entries that are non-zero in at least one of these examples; empty where masking does not pay.

    Args:
        vectors: (Q, size), of one parameter.
        several: its factors of some examples.
    """
    worth = len(vectors) >= MIN_VECTORS and vectors.device.type == "cpu"  # a GPU would have to synchronise
    masks = tuple(nonzero_columns(side) for side in _sides(several)) if worth else ()
    left = math.prod(float(mask.double().mean()) for mask in masks)
    return masks if left <= MAX_SHARE_KEPT else ()


def entry_count(masks: Masks) -> int:
    """Number of entries that the masks keep."""
    return math.prod(int(mask.sum()) for mask in masks)


def masked_vectors(vectors: Tensor, masks: Masks) -> Tensor:
    """The masked entries of vectors (Q, size): (Q, kept)."""
    if not masks:
        return vectors
    whole = masks[0] if len(masks) == 1 else (masks[0][:, None] & masks[1]).flatten()
    return vectors.index_select(1, whole.nonzero().flatten())


def masked_factors(several: list[Factor], masks: Masks) -> tuple[list[Factor], Masks]:
    """A batch's factors without the skipped entries, and the masks used: those given, or larger ones of its own.

    Args:
        several: the batch's factors.
        masks: of the examples that were looked at first.
    """
    sides = _sides(several)
    if not masks or len(sides) != len(masks):  # multiplied out here, but not in the first examples, or vice versa
        return several, ()
    met = tuple(nonzero_columns(side) | mask for side, mask in zip(sides, masks, strict=True))
    kept = [side.index_select(1, mask.nonzero().flatten()) for side, mask in zip(sides, met, strict=True)]
    factor = Outer(kept[0][:, None, None], kept[1][:, None, None]) if len(kept) == 2 else Dense(kept[0])
    known = all(torch.equal(one, other) for one, other in zip(met, masks, strict=True))
    return [factor], masks if known else met


def _sides(several: list[Factor]) -> tuple[Tensor, ...]:
    """Both sides of an outer product, (n, L) and (n, R), or gradients (n, size); empty for anything else."""
    one = several[0]
    if len(several) > 1:
        return ()
    if isinstance(one, Outer):
        if one.groups == one.positions == 1:
            return one.left[:, 0, 0], one.right[:, 0, 0]
        return (one.formed,) if one.fits else ()
    return (one.gradients(),) if isinstance(one, Dense) else ()
