"""Preconditioner of conjugate gradients: the exact inverse of the curvature of a few hundred examples.

The damped Gauss-Newton matrix of a few hundred random examples has most of the large eigenvalues of the matrix of all
examples. Its inverse comes from a Cholesky decomposition of the matrix of its rows (Woodbury), which costs little
beside one product with the curvature of all examples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from influence.derivatives import Objective
from influence.derivatives.objective import restricted
from influence.derivatives.second.rows import BatchRows, batch_rows, same_layout

MAX_ROWS = 4500
"""Largest number of rows (examples times directions of their outputs) that is decomposed."""
ROUNDING = 0.01
"""Condition number times machine epsilon up to which the inverse is sure to stay positive definite."""
DATA_FRACTION = 10
"""At most one example in this many is used: decomposing more costs more than the saved products."""


class Preconditioner:
    """(B'B / s + D)^-1: B are the rows of s of the stage's examples, D = ridge + damping is (T,), float64."""

    def __init__(self, parts: list[BatchRows], diagonal: Tensor, factor: Tensor):
        self.parts, self.diagonal, self.factor = parts, diagonal, factor
        self.examples, self.rows = sum(part.count for part in parts), len(factor)

    def solve(self, vectors: Tensor) -> Tensor:
        """The inverse times every row of `vectors`, (Q, T) -> (Q, T), float64. The rows B keep their own precision."""
        scaled = vectors / self.diagonal
        lower = scaled.to(self.factor.dtype)
        along = torch.cat([part.times(lower) for part in self.parts])
        inner = torch.cholesky_solve(along, self.factor) / self.examples
        total = torch.zeros_like(lower)
        for part, back in zip(self.parts, inner.split([len(part.formed) for part in self.parts]), strict=True):
            part.add_back(total, back)
        return scaled - total / self.diagonal


def preconditioner(objective: Objective, diagonal: Tensor, room: int) -> Preconditioner | None:
    """The preconditioner of a random subset of the examples; None if there is none.

    The subset has at most `MAX_ROWS` rows, at most half as many rows as there are parameters, and at most one example
    in `DATA_FRACTION`. There is no preconditioner if these are fewer than two examples, if the model has no rows
    example by example or they need more than `room` bytes, or if D is not positive or too small for the precision.

    `diagonal` is D, (T,), float64: l2 and proximity of each parameter, plus damping.
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

    Inner products of a linear layer's rows, d (outer) a, are products of the inner products of their two sides.
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
