"""The dense Hessian of a stage's mean loss.

Where the outputs are linear in some parameters, as they are in a head's, the Hessian between these is the Gauss-Newton
matrix, which costs a few passes over the data in all. Only the rows of the other parameters are formed by products,
some passes for each.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from influence.derivatives.objective import Objective, ran_out_of_memory
from influence.derivatives.remarks import Remarks
from influence.derivatives.second.gauss_newton import ggn_of_rows
from influence.derivatives.second.products import basis, hessian_product
from influence.errors import LossError

ROUNDING = 100
"""Two products agree when they differ by so many units of rounding at most, relatively."""


def hessian(objective: Objective) -> Tensor:
    """The dense Hessian (T, T) of the mean loss, in float64."""
    size = objective.trained.size
    matrix, linear = _gauss_newton(objective), size
    if matrix is None:
        matrix = torch.zeros(size, size, dtype=torch.float64, device=objective.device)
    else:
        linear = _linear_from(objective, matrix)
    rows = hessian_product(objective, basis(objective)[:linear]).double()
    matrix[:linear], matrix[linear:, :linear] = rows, rows[:, linear:].T
    return (matrix + matrix.T) / 2


def _gauss_newton(objective: Objective) -> Tensor | None:
    """The Gauss-Newton matrix, or None where it is no help. Its remarks are dropped: they advise those who chose it."""
    if objective.epsilon > torch.finfo(torch.float32).eps:
        return None  # half precision has too few digits to tell the two matrices apart
    aside = copy.copy(objective)
    aside.remarks = Remarks()
    try:
        return ggn_of_rows(aside)
    except (LossError, RuntimeError) as error:  # outputs that are no tensors, say; the Hessian asks only for the loss
        if ran_out_of_memory(error):
            raise
        return None


def _linear_from(objective: Objective, gauss_newton: Tensor) -> int:
    """Place from which on the outputs are linear in the parameters, (T,) if in none.

    There, and only there, the two matrices agree: a random vector, which no difference of theirs sends to zero, tells.
    """
    layout, linear = objective.trained, objective.trained.size
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(1, layout.size, generator=generator).to(objective.device, objective.dtype)
    for place in reversed([s.start for s in layout.slices.values()]):
        vector = probe.clone()
        vector[:, :place] = 0
        exact = hessian_product(objective, vector)[0, place:].double()
        found = gauss_newton[place:, place:] @ vector[0, place:].double()
        if not (exact - found).norm() <= ROUNDING * objective.epsilon * found.norm():
            break
        linear = place
    return linear
