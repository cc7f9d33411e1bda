"""Query vectors of low rank, layer by layer, narrowed, and of half precision, where a measured error allows it.

A solved query's part in a linear layer is a matrix (L, R); of rank r it costs r (L + R) instead of L R products an
example. How small r may be depends on the solve and on the query: 8 may do for most of EK-FAC's vectors, and 32 not for
exact ones. Many vectors are narrowed to the main directions of what goes into a layer (`narrowing.py`). They may be of
half precision too, on hardware that multiplies it faster. So the form is never given but measured: each query gets the
cheapest whose scores of some examples are as near as asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from influence.attribution.products.active import Masks, masked_factors
from influence.attribution.products.forms import QueryFamily, QueryGroup, masked
from influence.attribution.products.low_rank import LowRank, add_dots, dots_by_direction, low_rank
from influence.attribution.products.narrowing import Bases, projected_factors, projected_vectors, smallest_bases
from influence.derivatives.first.factors import Factors, Outer

RANKS = (4, 6, 8, 10, 12, 16, 24, 32)
ERROR_MARGIN = 0.3
"""Share of the allowed error that may be measured: on other examples it may be larger."""
RANK_MARGIN = 0.05
"""What the rank correlation may lack of 1, as a share of the allowed error: small scores have to keep their order."""
GROUP_COST = 16
"""What a group costs beside its products, in those of queries whose vectors are as they are."""


def compressed(
    vectors: Mapping[str, Tensor], factors: Factors, count: int, error: float, directions: Bases | None = None
) -> tuple[list[QueryFamily], dict[str, Any]]:
    """Each query's vectors in the cheapest form that `error` allows it, and what was done.

    Args:
        vectors: parameter -> (Q, size).
        factors: parameter -> factors of the examples on which the error is measured.
        count: of these examples.
        error: largest |found - exact| / |exact| over these examples' scores that a query may have.
        directions: main directions of some layers, found on other examples.

    Returns:
        the queries in these forms, those that are narrowed first; and `forms`: their ranks, whether they are narrowed
        and of half precision, and how many queries they have; `narrowed`: the directions of each layer that are left,
        of how many; and the largest `error` that was measured.
    """
    every = torch.arange(len(next(iter(vectors.values()))))
    whole = QueryFamily(every, vectors)
    whole.places, left = masked(vectors, factors)
    exact, price = QueryGroup(every, left).dots(_there(factors, whole.places), count), _price(left, {}, 0, False)
    bases = smallest_bases(directions, vectors, factors, exact, error) if directions else {}
    families, worst, rest = [], 0.0, every
    for some in (bases, {}) if bases else ({},):
        family, cut = _narrow(whole, left, rest, factors, some)
        met, wrong = _fill(family, cut, projected_factors(factors, some), exact[:, rest.to(exact.device)], error, price)
        worst, rest = max(worst, wrong), rest[~met]
        families += [family] if family.groups else []
        if not len(rest):
            break
    forms = [
        {"rank": group.rank, "half": group.half, "narrow": bool(family.bases), "queries": len(group.queries)}
        for family in families
        for group in family.groups
    ]
    widths = {n: [basis.shape[1], len(basis)] for family in families for n, basis in family.bases.items()}
    return families, {"forms": forms, "narrowed": widths, "error": worst}


def _there(factors: Factors, places: Mapping[str, Masks]) -> Factors:
    return {name: masked_factors(one, places.get(name, ()))[0] for name, one in factors.items()}


def _narrow(
    whole: QueryFamily, left: Mapping[str, Tensor], queries: Tensor, factors: Factors, bases: Bases
) -> tuple[QueryFamily, dict[str, Tensor]]:
    """Some queries in these bases, without groups; their vectors of the places in which the factors have anything.

    Args:
        whole: all queries as they are.
        left: their vectors of its places.
        queries: rows of these, (q,).
        factors: of the examples by which places are found.
        bases: of the layers to be narrowed.
    """

    def some(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        every = len(queries) == len(whole.queries)
        return {name: one if every else one[queries] for name, one in given.items()}

    turned = projected_vectors(some({name: whole.vectors[name] for name in bases}), bases)
    places, cut = masked(turned, projected_factors({name: factors[name] for name in bases}, bases))
    family = QueryFamily(queries, some(whole.vectors) | turned, bases)
    family.places = {name: one for name, one in whole.places.items() if name not in bases} | places
    return family, some(left) | cut


def _fill(
    family: QueryFamily, vectors: dict[str, Tensor], factors: Factors, exact: Tensor, error: float, price: float
) -> tuple[Tensor, float]:
    """Give a family its groups, of the forms that are near enough; which queries these have (Q,), their largest error.

    Args:
        family: queries without groups.
        vectors: theirs, of its places.
        factors: of the examples on which the error is measured, in its bases.
        exact: these examples' products with the queries as they are, (n, Q).
        error: as in `compressed`.
        price: of a query as it is. In a family that is not narrowed all can be had at that.
    """
    ready = _there(factors, family.places)
    thin, precisions = _thin(vectors, ready), _precisions(vectors)
    found = {half: _dots_by_rank(vectors, thin, half, ready, len(exact)) for half in precisions}
    forms, wrong, ranks = _forms(vectors, thin, precisions), [], _ranks(exact)
    for rank, half in forms:
        if (rank, half) == (0, False) and not family.bases:
            wrong.append(torch.zeros(exact.shape[1], dtype=exact.dtype))
            continue
        apart = (found[half][rank] - exact).norm(dim=0) / exact.norm(dim=0).clamp(min=1e-30)
        near = (apart <= ERROR_MARGIN * error).nonzero().flatten()
        near = near[_disorder(_ranks(found[half][rank][:, near]), ranks[near]) <= RANK_MARGIN * error]
        wrong.append(torch.full_like(apart, torch.inf).index_copy_(0, near, apart[near]).cpu())
    errors = torch.stack(wrong)
    prices = [_price(vectors, thin, *form) for form in forms]
    chosen = _chosen(errors.isfinite(), prices, price, every=not family.bases)
    for form in chosen.unique().tolist():
        if form >= 0:
            family.groups.append(_group(vectors, thin, (chosen == form).nonzero().flatten(), *forms[form]))
    met = chosen >= 0
    worst = errors.gather(0, chosen.clamp(min=0)[None])[0][met]
    return met, float(worst.max()) if len(worst) else 0.0


def _chosen(near: Tensor, prices: list[float], price: float, every: bool) -> Tensor:
    """The form of each query, or -1: (Q,).

    Forms are given up one after the other, as long as what is left is cheaper altogether.

    Args:
        near: which forms are near enough for which queries, (forms, Q).
        prices: of the forms, products an example and query, the cheapest first.
        price: of a query as it is, which those without a form will cost.
        every: whether all must have one.
    """

    def assigned(kept: list[int]) -> tuple[float, Tensor]:
        given = torch.full((near.shape[1],), -1)
        for form in reversed(kept):
            given[near[form]] = form
        each = torch.tensor([*prices, torch.inf if every else price])[given].sum()
        return float(each) + GROUP_COST * price * len(given.unique()), given

    kept = list(range(len(prices)))
    best, chosen = assigned(kept)
    while kept:
        tried = [(*assigned([other for other in kept if other != form]), form) for form in kept]
        total, given, form = min(tried, key=lambda one: one[0])
        if total > best:
            break
        best, chosen = total, given
        kept.remove(form)
    return chosen


def _ranks(dots: Tensor) -> Tensor:
    """Of each column of (n, Q): (Q, n)."""
    return dots.T.argsort(stable=True).argsort().double()


def _disorder(one: Tensor, other: Tensor) -> Tensor:
    """What the rank correlation (Spearman's) of two (Q, n) of ranks lacks of 1: (Q,)."""
    count = one.shape[1]
    return 6 * (one - other).square().sum(1) / max(1, count * (count**2 - 1))


def _group(
    vectors: Mapping[str, Tensor], thin: Mapping[str, LowRank], queries: Tensor, rank: int, half: bool
) -> QueryGroup:
    """These queries, their vectors in this form."""
    found: dict[str, Tensor | LowRank] = {}
    for name, one in vectors.items():
        if name in thin and 0 < rank <= thin[name].rank:
            found[name] = thin[name].leading(rank)[queries]
        else:  # not copied where all are meant: vectors may be mapped from files
            found[name] = one if len(queries) == len(one) else one[queries]
    if half:
        found = {name: one.to(torch.bfloat16) for name, one in found.items()}
    return QueryGroup(queries, found, rank, half)


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
    forms = [(rank, half) for rank in (0, *RANKS) for half in precisions]
    prices = {form: _price(vectors, thin, *form) for form in [*forms, (0, False)]}
    cheaper = [form for form in forms if prices[form] < prices[0, False]]
    return [*sorted(cheaper, key=lambda form: prices[form]), (0, False)]


def _price(vectors: Mapping[str, Tensor], thin: Mapping[str, LowRank], rank: int, half: bool) -> float:
    """Products of an example and a query in this form; two of half precision take as long as one, or less."""
    sizes = {name: one.shape[1] for name, one in vectors.items()}
    sizes |= {n: rank * (t.left.shape[2] + t.right.shape[2]) for n, t in thin.items() if 0 < rank <= t.rank}
    return sum(sizes.values()) / (1 + half)


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
