"""Query vectors of low rank, layer by layer, and of half precision, where a measured error allows it.

A solved query's part in a linear layer is a matrix (L, R); of rank r it costs r (L + R) instead of L R products an
example. How small r may be depends on the solve and on the query: 8 may do for most of EK-FAC's vectors, and 32 not for
exact ones. Vectors may be of half precision too, on hardware that multiplies it faster. So the form is never given but
measured: each query gets the cheapest whose scores of some examples are as near as asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor

from influence.derivatives.factors import Factor, Outer, add_sum_of_dots

RANKS = (4, 8, 16, 32)
OVERSAMPLED = 4
"""Random directions beyond the rank that the range is looked for in."""
MARGIN = 0.4
"""Share of the allowed error that may be measured: on other examples it may be larger."""
SMALLEST = 0.1
"""Share of the remaining queries from which on they are worth a group of their own."""


@dataclass
class LowRank:
    """Vectors (Q, L R) as sum_r left[q, r] (outer) right[q, r]: left (Q, r, L), right (Q, r, R)."""

    left: Tensor
    right: Tensor

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, queries: Tensor) -> LowRank:
        return LowRank(self.left[queries], self.right[queries])

    def to(self, dtype: torch.dtype) -> LowRank:
        return LowRank(self.left.to(dtype), self.right.to(dtype))


Vectors = Mapping[str, Tensor | LowRank]
Factors = Mapping[str, list[Factor]]


@dataclass
class Group:
    """Queries whose vectors have one form.

    Attributes:
        queries: their rows, (q,).
        vectors: of these.
        rank: of vectors of linear layers; 0: as they are.
        half: whether they are of half precision.
    """

    queries: Tensor
    vectors: Vectors
    rank: int = 0
    half: bool = False

    def add_dots(self, scores: Tensor, factors: Factors) -> None:
        """Add the dot products with the gradients to the queries' columns of `scores` (n, Q)."""
        whole = len(self.queries) == scores.shape[1]
        part = scores if whole else scores[:, self.queries]
        for name, several in factors.items():
            _add_dots(part, several, self.vectors[name])
        if not whole:
            scores[:, self.queries] = part


def uncompressed(vectors: Mapping[str, Tensor]) -> Group:
    """All queries, their vectors (Q, size) by parameter as they are."""
    return Group(torch.arange(len(next(iter(vectors.values())))), vectors)


def compressed(vectors: Mapping[str, Tensor], factors: Factors, error: float) -> tuple[list[Group], dict[str, Any]]:
    """Each query's vectors in the cheapest form that `error` allows it, and what was done.

    Args:
        vectors: parameter -> (Q, size).
        factors: parameter -> factors of the examples on which the error is measured.
        error: largest |found - exact| / |exact| over these examples' scores that a query may have.

    Returns:
        the groups; and `forms`: their ranks, whether they are of half precision, and how many queries they have; and
        the largest `error` that was measured.
    """
    rest, groups, worst = uncompressed(vectors), [], 0.0
    exact = _scores(rest, factors)
    for rank, half in _forms(vectors, factors):
        tried = Group(rest.queries, _formed(rest.vectors, factors, rank, half), rank, half)
        wrong = (_scores(tried, factors) - exact).norm(dim=0) / exact.norm(dim=0).clamp(min=1e-30)
        near = (wrong <= MARGIN * error).cpu()
        if near.sum() < max(1, SMALLEST * len(near)):
            continue
        groups.append(_part(tried, near))
        worst = max(worst, float(wrong.cpu()[near].max()))
        if near.all():
            break
        rest, exact = _part(rest, ~near), exact[:, ~near]
    else:
        groups.append(rest)
    forms = [{"rank": group.rank, "half": group.half, "queries": len(group.queries)} for group in groups]
    return groups, {"forms": forms, "error": worst}


def _part(group: Group, chosen: Tensor) -> Group:
    """The queries for which `chosen` (q,) is true."""
    if chosen.all():  # not copied: vectors may be mapped from files
        return group
    vectors = {name: one[chosen] for name, one in group.vectors.items()}
    return Group(group.queries[chosen], vectors, group.rank, group.half)


def _forms(vectors: Mapping[str, Tensor], factors: Factors) -> list[tuple[int, bool]]:
    """(rank, whether half) of all forms that are cheaper than the vectors as they are, the cheapest first."""
    one = next(iter(vectors.values()))
    precisions = (False, True) if one.dtype == torch.float32 and _halves_pay(one.device) else (False,)

    def products(rank: int, half: bool) -> float:
        """An example and query; two of half precision take as long as one, or less."""
        sides = {name: several[0].sides for name, several in factors.items() if _is_pair(several, rank)}
        whole = sum(several[0].shape[1] for name, several in factors.items() if name not in sides)
        return (whole + sum(rank * sum(pair) for pair in sides.values())) / (1 + half)

    forms = [(rank, half) for rank in (0, *RANKS) for half in precisions]
    forms = [form for form in forms if products(*form) < products(0, False)]
    return sorted(forms, key=lambda form: products(*form))


def _formed(vectors: Vectors, factors: Factors, rank: int, half: bool) -> Vectors:
    found = dict(vectors)
    for name, several in factors.items():
        if _is_pair(several, rank):
            whole = vectors[name]
            assert isinstance(whole, Tensor)
            found[name] = low_rank(whole.unflatten(1, several[0].sides), rank)
    return {name: one.to(torch.bfloat16) for name, one in found.items()} if half else found


def _halves_pay(device: torch.device) -> bool:
    """Whether the hardware has instructions for bfloat16: where it has not, it is slower than single precision."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = (getattr(torch.cpu, f"_is_{name}_supported", lambda: False) for name in ("avx512_bf16", "amx_tile"))
    return device.type == "cpu" and any(check() for check in known)


def low_rank(matrices: Tensor, rank: int) -> LowRank:
    """The leading `rank` directions of (Q, L, R), by a seeded range finder (Halko et al. 2011)."""
    short = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    generator = torch.Generator().manual_seed(0)
    width = min(rank + OVERSAMPLED, short.shape[1])
    probes = torch.randn(short.shape[2], width, generator=generator).to(short)
    gram = short @ short.mT
    span = torch.linalg.qr(gram @ (short @ probes))[0]
    span = torch.linalg.qr(gram @ span)[0]
    # Within the span, the leading directions are the eigenvectors of the small Gram matrix.
    within = torch.linalg.eigh(span.mT @ gram @ span)[1][:, :, -rank:]
    axes = (span @ within).mT.contiguous()  # (Q, r, short side)
    other = axes @ short
    return LowRank(axes, other) if short is matrices else LowRank(other, axes)


def _add_low_rank_dots(scores: Tensor, factor: Outer, vectors: LowRank) -> None:
    """As `Factor.add_dots`, for a linear layer: two thin products and a sum over the rank."""
    left, right = (side[:, 0, 0].to(vectors.left.dtype) for side in (factor.left, factor.right))
    a, b = left @ vectors.left.flatten(0, 1).T, right @ vectors.right.flatten(0, 1).T
    scores += a.mul_(b).unflatten(1, vectors.left.shape[:2]).sum(2, dtype=scores.dtype)


def _is_pair(several: list[Factor], rank: int) -> TypeGuard[list[Outer]]:
    """Whether vectors of this rank, other than 0, make the products with a parameter's gradients much cheaper."""
    one = several[0]
    return (
        rank > 0
        and len(several) == 1
        and isinstance(one, Outer)
        and one.groups == one.positions == 1
        and 2 * rank * sum(one.sides) < one.shape[1]
    )


def _scores(group: Group, factors: Factors) -> Tensor:
    """Of the group's queries alone: (n, q)."""
    one = next(iter(group.vectors.values()))
    like = one.left if isinstance(one, LowRank) else one
    count = next(iter(factors.values()))[0].shape[0]
    dtype = torch.promote_types(like.dtype, torch.float32)
    found = torch.zeros(count, len(group.queries), dtype=dtype, device=like.device)
    group.add_dots(found, factors)
    return found


def _add_dots(scores: Tensor, factors: list[Factor], vectors: Tensor | LowRank) -> None:
    """Add a parameter's dot products, whatever form the vectors have, to `scores` (n, q)."""
    if isinstance(vectors, LowRank):
        (factor,) = factors
        assert isinstance(factor, Outer)
        _add_low_rank_dots(scores, factor, vectors)
    else:
        add_sum_of_dots(scores, factors, vectors)
