"""The mixed derivative of a stage along what the queries span: a pass over its data a direction, not a query."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from influence.derivatives import Objective
from influence.derivatives.objective import BUDGET
from influence.derivatives.second.products import mixed_product

ROUNDINGS = 16
"""Machine epsilons, of its own length, by which a vector may leave the span of the directions that stand for it."""


class MixedDerivative:
    """H_FT v of one stage for many vectors v, with F its frozen and T its trained parameters.

    The product is linear. So it is computed of an orthonormal basis of what the vectors span, and combined: a head of
    few numbers has fewer directions than there are queries, whichever method solved them. Basis and products are kept
    while they fit `BUDGET`, for further vectors.

    Args:
        state: `state()` of an earlier one of the same stage.

    Attributes:
        directions: the basis that is kept, (r, T).
    """

    def __init__(self, state: Mapping[str, Tensor] | None = None) -> None:
        state = state or {}
        self.directions = state.get("directions", torch.empty(0, 0))
        self._products = state.get("products", torch.empty(0, 0))

    def state(self) -> dict[str, Tensor]:
        """What it has computed; empty if nothing."""
        return {"directions": self.directions, "products": self._products} if len(self.directions) else {}

    def __call__(self, objective: Objective, vectors: Tensor) -> Tensor:
        """(Q, T) -> (Q, F). `objective` is always that of the same stage, at the same parameters."""
        if not objective.frozen.size or not len(vectors):
            return vectors.new_zeros(len(vectors), objective.frozen.size)
        if not len(self.directions):
            self.directions = vectors.new_zeros(0, objective.trained.size)
            self._products = vectors.new_zeros(0, objective.frozen.size)
        rest, lengths = self._beyond(vectors), vectors.norm(dim=1)
        tolerance = ROUNDINGS * max(objective.epsilon, torch.finfo(vectors.dtype).eps)
        new = rest.norm(dim=1) > tolerance * lengths
        if not new.any():
            return self._combined(vectors)
        found = orthonormal(rest[new], lengths[new], tolerance)
        kept = len(self.directions) + len(found)
        if kept * (objective.trained.size + objective.frozen.size) * vectors.element_size() > BUDGET:
            combined = self._combined(vectors)
            if len(found) < int(new.sum()):
                combined += (rest @ found.T) @ mixed_product(objective, found)
            else:
                combined[new] += mixed_product(objective, rest[new])
        else:
            self.directions = torch.cat([self.directions, found])
            self._products = torch.cat([self._products, mixed_product(objective, found)])
            combined = self._combined(vectors)
        return combined

    def _beyond(self, vectors: Tensor) -> Tensor:
        """What the kept directions do not hold of the vectors."""
        if not len(self.directions):
            return vectors
        for _ in range(2):  # once more, for what rounding left
            vectors = vectors - (vectors @ self.directions.T) @ self.directions
        return vectors

    def _combined(self, vectors: Tensor) -> Tensor:
        return (vectors @ self.directions.T) @ self._products


def orthonormal(vectors: Tensor, lengths: Tensor, tolerance: float) -> Tensor:
    """The fewest orthonormal directions (r, T) from whose span no vector of (Q, T) is further than it may be.

    Args:
        vectors: (Q, T).
        lengths: (Q,), in units of which the distance is told.
        tolerance: the largest distance.
    """
    rows = (vectors / lengths[:, None]).double()
    if vectors.dtype == torch.float64:
        left, sizes, right = torch.linalg.svd(rows, full_matrices=False)
    else:  # singular values from a small matrix, to the root of its digits
        squares, left = torch.linalg.eigh(rows @ rows.T)
        sizes, left = squares.clamp(min=0).sqrt().flip(0), left.flip(1)
        right = None
    distances = (left * sizes).square().flip(1).cumsum(1).flip(1).amax(0).sqrt()
    rank = int((distances > tolerance).sum())
    if right is None:
        right = torch.linalg.qr(rows.T @ left[:, :rank])[0].T
    return right[:rank].to(vectors.dtype)
