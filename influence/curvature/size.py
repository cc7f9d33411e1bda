"""Whether an approximate inverse gives scores of the right size: two inequalities that take a few examples only.

For a gradient g, v = A^-1 g by the approximation, and the curvature A with ridge and damping as it is:

    v'A v / g'v            is 1 where v is right. Above, v is too long: no multiple of it beyond g'v / v'A v is better.
    (g'x)^2 / (x'A x)      is at most g' A^-1 g, whatever x is, and equal where x = A^-1 g.

Where both say so, scores are too large; the second alone finds those that are too small. Its x is the exact solve for
some examples. The products with A come from random gradients s of other examples, since E[s s'] is the curvature.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Subset

from influence.curvature.method import Method
from influence.derivatives.first.factors import Factors, add_sum_of_dots
from influence.derivatives.first.gradients import example_gradients, formed
from influence.derivatives.objective import BUDGET, Objective
from influence.derivatives.second.fisher import Fisher

ALL, FEWEST, MOST, ONE_IN = 128, 48, 128, 100
"""Examples up to which all are read, and of more the fewest and the most; in between one in `ONE_IN`."""
GRADIENTS, DRAWS = 16, 8
"""Gradients g, and the most passes over a small stage's examples, for twice `MOST` random gradients."""
TIMES = 3.0
"""By which sizes may be off before they mean nothing."""


class Size(NamedTuple):
    """Means over the gradients g, weighted by their scores."""

    too_large: float
    """v'A v / g'v, and at most what the bound leaves: g'v over it."""
    too_small: float
    """Lower bound of g'A^-1 g / g'v."""


def warn_of_size(method: Method) -> None:
    """Warn, and take the unit, where a method's solves are shown to be too large or too small by `TIMES`."""
    found = size_of(method)
    times, direction = max((found.too_large, "large"), (found.too_small, "small"))
    if not times > TIMES:
        return
    stage = method.objective.stage.name
    method.objective.remarks.warn(
        f"{stage}: scores by {method.card.name!r} are about {times:.2g} times too {direction}, as the curvature of "
        "some examples shows: its blocks are far from the curvature that they stand for. The size of the scores means "
        "nothing, and their order may be another; method='cg' has no blocks",
        order_only=True,
    )


def size_of(method: Method) -> Size:
    objective = method.objective
    solved_for, measured_on, draws = _samples(objective)
    most = BUDGET // (objective.sum_dtype.itemsize * objective.trained.size)
    few = solved_for[: max(1, min(GRADIENTS, most // 6))]
    sides = torch.cat([rows for _, rows in example_gradients(objective, _part(objective, few), objective.trained)])
    shift = (objective.ridge + method.damping).to(sides)
    fisher = Fisher(objective, seed=1)
    rows = [
        formed(objective, objective.trained, factors, slice(0, count))
        for count, factors in _drawn(fisher, solved_for[: most // 2], draws)
    ]
    solved = method.solve(sides)
    trials = [solved, _exact(torch.cat(rows), shift, sides)] if rows else [solved]
    del rows
    along = torch.cat(
        [_along(factors, count, torch.cat(trials), objective) for count, factors in _drawn(fisher, measured_on, draws)]
    )
    curved = [each.square().mean(0) for each in along.double().split(len(sides), dim=1)]
    forms = [each + (shift * x * x).sum(1) for each, x in zip(curved, trials, strict=True)]
    claimed = (sides * solved).sum(1).double().sum()
    bounds = [(sides * x).sum(1).double().square() / form for x, form in zip(trials, forms, strict=True)]
    bound = float(torch.stack(bounds).amax(0).nan_to_num(0.0).sum() / claimed)
    return Size(min(float(forms[0].sum() / claimed), 1 / bound if bound > 0 else torch.inf), bound)


def _samples(objective: Objective) -> tuple[list[int], list[int], int]:
    """Examples that x is solved for, those that measure, all in order, and the passes over each.

    All of a small stage's are both. Of a larger one's none is, since of its own curvature x has nothing.
    """
    count = len(objective.stage.data)
    if count <= ALL:
        return [*range(count)], [*range(count)], min(DRAWS, -(-2 * MOST // count))
    some = min(max(FEWEST, count // ONE_IN), MOST)
    drawn = torch.randperm(count, generator=torch.Generator().manual_seed(1))[: 2 * some]
    return sorted(drawn[:some].tolist()), sorted(drawn[some:].tolist()), 1


def _part(objective: Objective, positions: list[int]) -> Subset[object]:
    return Subset(objective.stage.data, positions)


def _drawn(fisher: Fisher, positions: list[int], draws: int) -> Iterator[tuple[int, Factors]]:
    for _ in range(draws if positions else 0):
        yield from fisher.factors(_part(fisher.objective, positions))


def _exact(rows: Tensor, shift: Tensor, sides: Tensor) -> Tensor:
    """(mean of r r' over the rows r + shift)^-1 times the sides (Q, T), by the matrix of the rows' products.

    Where rounding spoils it, the inequality holds all the same, and finds less.
    """
    scaled = sides / shift
    kernel = (rows / shift) @ rows.T / len(rows)
    kernel.diagonal().add_(1)
    inner = torch.linalg.solve_ex(kernel.double(), (rows @ scaled.T).double()).result.to(rows)
    return scaled - (inner.T @ rows) / len(rows) / shift


def _along(factors: Factors, count: int, vectors: Tensor, objective: Objective) -> Tensor:
    """Dot products (n, V) of a batch's gradients with vectors (V, T)."""
    found = vectors.new_zeros(count, len(vectors))
    for name, several in factors.items():
        add_sum_of_dots(found, several, vectors[:, objective.trained.slices[name]])
    return found
