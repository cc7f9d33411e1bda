"""What goes into a layer often lies in few directions: products with many vectors are narrowed to these.

The gradients of a weight (L, R) are then (L, r) in a basis of r directions, and so are the vectors, once. Which
directions, is found from some examples' gradients; how many, from the change of other examples' products.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from influence.derivatives.first.factors import Dense, Factor, Factors, Outer, nonzero_columns, summed_gradients

MAX_INPUTS = 2048
"""Inputs of a layer up to which their main directions are found."""
BASIS_EXAMPLES = 1024
"""From which they are found."""
MIN_EXAMPLES = 4 * BASIS_EXAMPLES
"""Examples to be scored from which on this pays."""
RANDOM_MIXES = 4
"""Random combinations of an example's gradient along the outputs, whose directions stand for all."""
SAMPLED_VECTORS = 64
"""Vectors by which the number of directions is chosen."""
MAX_SHARE_OUTSIDE = 0.03
"""Share of these that may need more, and then stay as they are."""
RANK_STEPS = 8
"""Numbers of directions that are tried: eighths of all."""
MAX_RANK_SHARE = 0.75
"""Of the inputs in which examples have anything, as many directions may be left for narrowing to pay."""
ERROR_SHARE = 0.1
"""Of the allowed error that leaving the other directions out of one layer may make."""

Bases = Mapping[str, Tensor]


def main_directions(batches: Iterable[Factors], queries: int) -> dict[str, Tensor]:
    """Of what goes into the layers for which narrowing may pay: parameter -> orthonormal columns (R, R), largest first.

    Args:
        batches: parameter -> factors of weights (L, R), of some examples.
        queries: how many vectors are to be narrowed.
    """
    moments: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    for factors in batches:
        for name, several in factors.items():
            if _pays(several, queries):
                (one,) = several
                assert isinstance(one, Outer)
                mixed = one.left[:, 0] @ torch.randn(one.sides[0], RANDOM_MIXES, generator=generator).to(one.left)
                rows = (mixed.mT @ one.right[:, 0]).flatten(0, 1)
                moments[name] = moments.get(name, 0) + rows.T @ rows
        if not moments:
            break
    return {name: torch.linalg.eigh(moment)[1].flip(1) for name, moment in moments.items()}


def smallest_bases(
    directions: Bases, vectors: Mapping[str, Tensor], factors: Factors, exact: Tensor, error: float
) -> dict[str, Tensor]:
    """As few of each layer's directions as the error allows: bases (R, r), none where most would be needed.

    Args:
        directions: (R, R) by parameter, the largest first.
        vectors: (Q, size) by parameter.
        factors: of examples that are not those of the directions.
        exact: their products with the vectors, (n, Q).
        error: as in `compressed`.
    """
    some = torch.arange(0, exact.shape[1], max(1, exact.shape[1] // SAMPLED_VECTORS), device=exact.device)
    allowed = ERROR_SHARE * error * exact[:, some].norm(dim=0)
    found = {}
    for name, basis in directions.items():
        if name not in factors:
            continue
        turned = _turned(vectors[name][some], basis)
        left, width = torch.zeros_like(exact[:, some]), len(basis)
        step = -(-width // RANK_STEPS)
        while width > step:
            part = slice(width - step, width)
            _narrow(factors[name], basis[:, part]).add_dots(left, turned[..., part].flatten(1))
            if float((left.norm(dim=0) > allowed).double().mean()) > MAX_SHARE_OUTSIDE:
                break
            width -= step
        if width <= MAX_RANK_SHARE * _inputs(factors[name]):
            found[name] = basis[:, :width].contiguous()
    return found


def projected_factors(factors: Factors, bases: Bases) -> Factors:
    """The gradients in these bases, where there is one."""
    return {name: [_narrow(each, bases[name])] if name in bases else each for name, each in factors.items()}


def projected_vectors(vectors: Mapping[str, Tensor], bases: Bases) -> dict[str, Tensor]:
    """Vectors (Q, size) by parameter in these bases, where there is one."""
    return {name: _turned(each, bases[name]).flatten(1) if name in bases else each for name, each in vectors.items()}


def _pays(several: list[Factor], queries: int) -> bool:
    """Turning a gradient costs as much as a product with R / 2 vectors, at most."""
    one = several[0]
    if len(several) > 1 or not isinstance(one, Outer) or one.groups > 1:
        return False
    return one.sides[1] <= min(queries, MAX_INPUTS) and (one.positions == 1 or one.fits)


def _narrow(several: list[Factor], basis: Tensor) -> Factor:
    one = several[0]
    if len(several) == 1 and isinstance(one, Outer) and one.groups == one.positions == 1:
        return Outer(one.left, one.right @ basis)
    return Dense(_turned(summed_gradients(several), basis))


def _inputs(several: list[Factor]) -> int:
    """In how many inputs of a layer these examples have anything: the others are left out anyway (`active.py`)."""
    one = several[0]
    assert isinstance(one, Outer)
    return int(nonzero_columns(one.right).sum())


def _turned(rows: Tensor, basis: Tensor) -> Tensor:
    """(n, L R) times (R, r): (n, L, r)."""
    return rows.unflatten(1, (-1, len(basis))) @ basis
