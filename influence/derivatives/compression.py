"""Query vectors of low rank, layer by layer, narrowed, and of half precision, where a measured error allows it.

A solved query's part in a linear layer is a matrix (L, R); of rank r it costs r (L + R) instead of L R products an
example. How small r may be depends on the solve and on the query: 8 may do for most of EK-FAC's vectors, and 32 not for
exact ones. Many vectors are narrowed to the main directions of what goes into a layer (`narrowing.py`). They may be of
half precision too, on hardware that multiplies it faster. So the form is never given but measured: each query gets the
cheapest whose scores of some examples are as near as asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from influence.derivatives.active import Active, active
from influence.derivatives.factors import Factors, Outer
from influence.derivatives.low_rank import LowRank, add_dots, dots_by_direction, low_rank
from influence.derivatives.narrowing import Bases, narrowed, narrowed_vectors, narrowest
from influence.derivatives.objective import BUDGET

RANKS = (4, 6, 8, 10, 12, 16, 24, 32)
MARGIN = 0.3
"""Share of the allowed error that may be measured: on other examples it may be larger."""
DISORDER = 0.05
"""What the rank correlation may lack of 1, as a share of the allowed error: small scores have to keep their order."""
SMALLEST = 0.05
"""Share of the queries from which on they are worth a group of their own."""


Vectors = Mapping[str, Tensor | LowRank]


@dataclass
class Group:
    """Queries whose vectors have one form.

    Attributes:
        queries: their rows, (q,).
        vectors: of these; of parameters in `active`, of the places there only.
        rank: of vectors of linear layers; 0: as they are.
        half: whether they are of half precision.
        narrow: whether they are narrowed, as the factors must be then.
        active: where examples have anything, of the parameters of which much is left out.
    """

    queries: Tensor
    vectors: Vectors
    rank: int = 0
    half: bool = False
    narrow: bool = False
    active: Mapping[str, Active] = field(default_factory=dict)

    def dots(self, factors: Factors, count: int) -> Tensor:
        """Dot products of `count` examples' gradients with its vectors, (count, q), in at least single precision."""
        one = next(iter(self.vectors.values()))
        like = one.left if isinstance(one, LowRank) else one
        dtype = torch.promote_types(like.dtype, torch.float32)
        found = torch.zeros(count, len(self.queries), dtype=dtype, device=like.device)
        for name, several in factors.items():
            left, vectors = several, self.vectors[name]
            if name in self.active:
                left, vectors = self.active[name].of(several, vectors)
            add_dots(found, left, vectors)
        return found


def uncompressed(vectors: Mapping[str, Tensor], factors: Factors | None = None) -> Group:
    """All queries, their vectors (Q, size) by parameter as they are, but for places in which `factors` have nothing."""
    found, kept = _without_idle(vectors, factors or {})
    return Group(torch.arange(len(next(iter(vectors.values())))), kept, active=found)


def _without_idle(vectors: Mapping[str, Tensor], factors: Factors) -> tuple[dict[str, Active], dict[str, Tensor]]:
    """Where these examples have anything, of the parameters of which much may be left out; the vectors (Q, left)."""
    room, kept = BUDGET, {}
    for name, several in factors.items():
        found = active(vectors[name], several)
        if found and found.nbytes <= room:
            kept[name] = found
            room -= found.nbytes
    return kept, {name: kept[name].there() if name in kept else one for name, one in vectors.items()}


def compressed(
    vectors: Mapping[str, Tensor], factors: Factors, count: int, error: float, directions: Bases | None = None
) -> tuple[list[Group], Bases, dict[str, Any]]:
    """Each query's vectors in the cheapest form that `error` allows it, and what was done.

    Args:
        vectors: parameter -> (Q, size).
        factors: parameter -> factors of the examples on which the error is measured.
        count: of these examples.
        error: largest |found - exact| / |exact| over these examples' scores that a query may have.
        directions: main directions of some layers, found on other examples.

    Returns:
        the groups; the bases of those that are narrowed; and `forms`: their ranks, whether they are narrowed and of
        half precision, and how many queries they have; `narrowed`: the directions of each layer that are left, of how
        many; and the largest `error` that was measured.
    """
    whole = uncompressed(vectors)
    exact = whole.dots(factors, count)
    bases = narrowest(directions, vectors, factors, exact, error) if directions else {}
    groups, worst, rest = [], 0.0, whole.queries
    for some in (bases, {}) if bases else ({},):
        left = vectors if len(rest) == len(whole.queries) else {name: one[rest] for name, one in vectors.items()}
        found, near, wrong = _cheapest(
            narrowed_vectors(left, some), narrowed(factors, some), exact[:, rest.to(exact.device)], error, bool(some)
        )
        groups += [replace(group, queries=rest[group.queries]) for group in found]
        worst, rest = max(worst, wrong), rest[~near]
        if not len(rest):
            break
    forms = [{"rank": g.rank, "half": g.half, "narrow": g.narrow, "queries": len(g.queries)} for g in groups]
    widths = {name: [basis.shape[1], len(basis)] for name, basis in bases.items()}
    return groups, bases, {"forms": forms, "narrowed": widths, "error": worst}


def _cheapest(
    vectors: Mapping[str, Tensor], factors: Factors, exact: Tensor, error: float, narrow: bool
) -> tuple[list[Group], Tensor, float]:
    """Groups of the queries for which a form is near enough, which these are (Q,), and their largest error.

    Vectors that are not narrowed are near enough as they are.
    """
    places, vectors = _without_idle(vectors, factors)
    factors = {name: places[name].of(one, vectors[name])[0] if name in places else one for name, one in factors.items()}
    thin, precisions = _thin(vectors, factors), _precisions(vectors)
    found = {half: _dots_by_rank(vectors, thin, half, factors, len(exact)) for half in precisions}
    groups, worst, rest = [], 0.0, torch.arange(exact.shape[1])
    for rank, half in _forms(vectors, thin, precisions):
        if (rank, half) == (0, False) and not narrow:
            wrong, near = torch.zeros(len(rest)), torch.ones(len(rest), dtype=torch.bool)
        else:
            left = rest.to(exact.device)
            one, other = found[half][rank][:, left], exact[:, left]
            wrong = ((one - other).norm(dim=0) / other.norm(dim=0).clamp(min=1e-30)).cpu()
            near = (wrong <= MARGIN * error) & (_disorder(one, other).cpu() <= DISORDER * error)
        if not near.all() and near.sum() < max(1, SMALLEST * exact.shape[1]):
            continue
        group = _group(vectors, thin, rest[near], rank, half, narrow)
        there = {name: replace(one, rows=rest[near].to(one.vectors.device)) for name, one in places.items()}
        groups.append(replace(group, active=there))
        worst, rest = max(worst, float(wrong[near].max())), rest[~near]
        if not len(rest):
            break
    met = torch.ones(exact.shape[1], dtype=torch.bool)
    met[rest] = False
    return groups, met, worst


def _disorder(found: Tensor, exact: Tensor) -> Tensor:
    """What Spearman's rank correlation of the columns of (n, Q) lacks of 1: (Q,)."""
    count = len(found)
    one, other = (each.T.argsort(stable=True).argsort().double() for each in (found, exact))
    return 6 * (one - other).square().sum(1) / max(1, count * (count**2 - 1))


def _group(
    vectors: Mapping[str, Tensor],
    thin: Mapping[str, LowRank],
    queries: Tensor,
    rank: int,
    half: bool,
    narrow: bool = False,
) -> Group:
    """These queries, their vectors in this form."""
    found: dict[str, Tensor | LowRank] = {}
    for name, one in vectors.items():
        if name in thin and 0 < rank <= thin[name].rank:
            found[name] = thin[name].leading(rank)[queries]
        else:  # not copied where all are meant: vectors may be mapped from files
            found[name] = one if len(queries) == len(one) else one[queries]
    if half:
        found = {name: one.to(torch.bfloat16) for name, one in found.items()}
    return Group(queries, found, rank, half, narrow)


def _thin(vectors: Mapping[str, Tensor], factors: Factors) -> dict[str, LowRank]:
    """Those of linear layers, of the largest rank that makes the products much cheaper."""
    found = {}
    for name, several in factors.items():
        one = several[0]
        if len(several) == 1 and isinstance(one, Outer) and one.groups == one.positions == 1:
            ranks = [rank for rank in RANKS if 2 * rank * sum(one.sides) < one.shape[1]]
            if ranks:
                found[name] = low_rank(vectors[name].unflatten(1, one.sides), ranks[-1])
    return found


def _precisions(vectors: Mapping[str, Tensor]) -> tuple[bool, ...]:
    """Whether to halve it: not, or both."""
    one = next(iter(vectors.values()))
    return (False, True) if one.dtype == torch.float32 and halves_pay(one.device) else (False,)


def _forms(
    vectors: Mapping[str, Tensor], thin: Mapping[str, LowRank], precisions: tuple[bool, ...]
) -> list[tuple[int, bool]]:
    """(rank, whether half) of the vectors as they are and of all forms that are cheaper, the cheapest first."""

    def products(rank: int, half: bool) -> float:
        """An example and query; two of half precision take as long as one, or less."""
        sizes = {name: one.shape[1] for name, one in vectors.items()}
        sizes |= {n: rank * (t.left.shape[2] + t.right.shape[2]) for n, t in thin.items() if 0 < rank <= t.rank}
        return sum(sizes.values()) / (1 + half)

    forms = [(rank, half) for rank in (0, *RANKS) for half in precisions]
    forms = [form for form in forms if products(*form) < products(0, False)]
    return [*sorted(forms, key=lambda form: products(*form)), (0, False)]


def _dots_by_rank(
    vectors: Mapping[str, Tensor], thin: Mapping[str, LowRank], half: bool, factors: Factors, count: int
) -> dict[int, Tensor]:
    """Dot products (count, Q) with the vectors in the forms of all ranks, 0 for as they are."""
    group = _group(vectors, {}, torch.arange(len(next(iter(vectors.values())))), 0, half)
    others = group.dots({name: several for name, several in factors.items() if name not in thin}, count)
    found = {rank: others.clone() for rank in (0, *RANKS)}
    for name, one in thin.items():
        (factor,) = factors[name]
        assert isinstance(factor, Outer)
        whole = torch.zeros_like(others)
        add_dots(whole, factors[name], group.vectors[name])
        parts = dots_by_direction(factor, one.to(torch.bfloat16) if half else one)
        for rank, total in found.items():
            total += parts[:, :rank].sum(1, dtype=total.dtype) if 0 < rank <= one.rank else whole
    return found


def halves_pay(device: torch.device) -> bool:
    """Whether the hardware has instructions for bfloat16: where it has not, it is slower than single precision."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = (getattr(torch.cpu, f"_is_{name}_supported", lambda: False) for name in ("avx512_bf16", "amx_tile"))
    return device.type == "cpu" and any(check() for check in known)
