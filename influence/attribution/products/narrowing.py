"""Project a layer's inputs onto their main directions: with many query vectors, the products are then cheaper.

The inputs of a layer often lie in a subspace of few dimensions. In a basis of it, the gradients of a weight (L, R) are
(L, r), and so are the query vectors, which are projected once. The basis comes from some examples' gradients; its size
r from the change of other examples' products.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from influence.derivatives.first.factors import Dense, Factor, Factors, Outer, nonzero_columns, summed_gradients

MAX_INPUTS = 2048
"""Layers with more inputs than this are not projected."""
BASIS_EXAMPLES = 1024
"""Examples that the main directions are computed from."""
MIN_EXAMPLES = 4 * BASIS_EXAMPLES
"""With fewer examples to score than this, projecting does not pay."""
RANDOM_MIXES = 4
"""Random combinations of the rows of an example's gradient that stand for all its rows."""
SAMPLED_VECTORS = 64
"""Query vectors that the number of directions is chosen with."""
MAX_SHARE_OUTSIDE = 0.03
"""At most this share of the sampled vectors may need more directions; such queries are not projected."""
RANK_STEPS = 8
"""Numbers of directions that are tried: multiples of an eighth of all."""
MAX_RANK_SHARE = 0.75
"""Largest number of directions, relative to the layer's non-zero inputs, for which projecting pays."""
ERROR_SHARE = 0.1
"""Share of the allowed error that the projection of one layer may use up."""

Bases = Mapping[str, Tensor]
"""parameter -> orthonormal columns (R, r)."""


def main_directions(batches: Iterable[Factors], queries: int) -> dict[str, Tensor]:
    """Main directions of the inputs of layers for which projecting may pay: parameter -> columns (R, R), largest first.

    They are the eigenvectors of the second moment of the rows of the gradients, sampled by random combinations.

    Args:
        batches: factors of some examples.
        queries: number of query vectors.
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
    """As few of each layer's directions as the error allows: bases (R, r), none where most directions are needed.

    Args:
        directions: (R, R) by parameter, the largest first.
        vectors: (Q, size) by parameter.
        factors: of other examples than those that the directions come from.
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
    """The gradients, projected where their parameter has a basis."""
    return {name: [_narrow(each, bases[name])] if name in bases else each for name, each in factors.items()}


def projected_vectors(vectors: Mapping[str, Tensor], bases: Bases) -> dict[str, Tensor]:
    """Vectors (Q, size) by parameter, projected where their parameter has a basis."""
    return {name: _turned(each, bases[name]).flatten(1) if name in bases else each for name, each in vectors.items()}


def _pays(several: list[Factor], queries: int) -> bool:
    """Whether projecting may pay for a parameter: it costs at most as much as a product with R / 2 vectors."""
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
    """Number of a layer's inputs that are non-zero in at least one example; the others are skipped (`active.py`)."""
    one = several[0]
    assert isinstance(one, Outer)
    return int(nonzero_columns(one.right).sum())


def _turned(rows: Tensor, basis: Tensor) -> Tensor:
    """(n, L R) times (R, r): (n, L, r)."""
    return rows.unflatten(1, (-1, len(basis))) @ basis
