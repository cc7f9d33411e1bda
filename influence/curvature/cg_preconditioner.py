"""What makes conjugate gradients converge in few products: the exact inverse of some examples' curvature.

The damped Gauss-Newton matrix of a few hundred examples, drawn at random, has most of what is large in that of all of
them. Its inverse is had by decomposing the matrix of its rows (Woodbury), which costs little beside one product with
the curvature of all examples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from influence.derivatives import Objective
from influence.derivatives.objective import restricted
from influence.derivatives.second.rows import BatchRows, batch_rows, same_layout

MAX_ROWS = 4500
"""Rows, examples times directions of their outputs, that are decomposed at most."""
ROUNDING = 0.01
"""Largest curvature over the smallest of D, times the precision, up to which the inverse is sure to stay positive."""
DATA_FRACTION = 10
"""One of so many examples at most: decomposing more costs more than the products that it saves."""


class Preconditioner:
    """(B'B / s + D)^-1, with the rows B of `s` of a stage's examples and D, ridge plus damping, (T,), float64."""

    def __init__(self, parts: list[BatchRows], diagonal: Tensor, factor: Tensor):
        self.parts, self.diagonal, self.factor = parts, diagonal, factor
        self.examples, self.rows = sum(part.count for part in parts), len(factor)

    def solve(self, vectors: Tensor) -> Tensor:
        """The inverse times every row of `vectors`: (Q, T) -> (Q, T), float64; the rows B keep their own precision."""
        scaled = vectors / self.diagonal
        lower = scaled.to(self.factor.dtype)
        along = torch.cat([part.times(lower) for part in self.parts])
        inner = torch.cholesky_solve(along, self.factor) / self.examples
        total = torch.zeros_like(lower)
        for part, back in zip(self.parts, inner.split([len(part.formed) for part in self.parts]), strict=True):
            part.add_back(total, back)
        return scaled - total / self.diagonal


def preconditioner(objective: Objective, diagonal: Tensor, room: int) -> Preconditioner | None:
    """Of as many examples as have `MAX_ROWS` rows, or half as many as parameters, and at most one of `DATA_FRACTION`.

    `diagonal` is D, (T,), float64: l2 and proximity of each parameter, plus damping.

    None where these are less than two, where rows cannot be had example by example or would take more than `room`
    bytes, where D is not positive, or so small that rounding would leave an inverse that is not.
    """
    count = len(objective.stage.data)
    most = count // DATA_FRACTION
    if float(diagonal.min()) <= 0 or most < 2:
        return None
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    two = next(batch_rows(restricted(objective, order[:2]), room), None)  # some models cannot take a batch of one
    if two is None or not len(two.formed):  # no rows: a loss that is linear in the outputs
        return None
    examples = min(min(MAX_ROWS, objective.trained.size // 2) * two.count // len(two.formed), most)
    if objective.batch_size > 1 and examples % objective.batch_size == 1:
        examples -= 1
    if examples < 2 or examples * two.nbytes > room * two.count:
        return None
    parts = list(batch_rows(restricted(objective, sorted(order[:examples])), room))
    whole = [part.to(objective.sum_dtype) for part in parts if part is not None]
    if len(whole) < len(parts) or not same_layout(whole):
        return None
    kernel = _kernel(whole, diagonal)
    if not float(kernel.abs().sum(1).max()) * torch.finfo(kernel.dtype).eps < ROUNDING:  # also where it is not finite
        return None
    return Preconditioner(whole, diagonal, torch.linalg.cholesky(kernel))


def _kernel(parts: list[BatchRows], diagonal: Tensor) -> Tensor:
    """B D^-1 B' / s + I, (s K, s K), with K rows an example.

    Of a linear layer's rows, d (outer) a, by the products of their two sides.
    """
    examples, formed = sum(part.count for part in parts), torch.cat([part.formed for part in parts])
    kernel = formed.new_zeros(len(formed), len(formed))
    if parts[0].slices:
        small = torch.cat([diagonal[s] for s in parts[0].slices]).to(formed.dtype)
        kernel.addmm_(formed / small, formed.T)
    each = len(formed) // examples
    for start, stop in parts[0].pairs:
        a, d = (torch.cat([part.pairs[start, stop][side] for part in parts]) for side in (0, 1))
        products = d.flatten(0, 1) @ d.flatten(0, 1).T
        shared = a @ a.T / diagonal[start].to(a.dtype)  # ridge is the same all over a parameter
        products.view(examples, each, examples, each).mul_(shared[:, None, :, None])
        kernel += products
    kernel /= examples
    kernel.diagonal().add_(1)
    return kernel
