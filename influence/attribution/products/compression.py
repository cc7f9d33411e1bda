"""Compress query vectors: low rank, projection and half precision, as far as a measured error allows.

A solved query's part in a linear layer is a matrix (L, R). With rank r, a dot product costs r (L + R) multiplications
instead of L R. The rank that suffices depends on the solve and on the query: 8 is enough for most of EK-FAC's vectors,
32 may not be for exact ones. Many vectors may also be projected onto the main directions of a layer's inputs
(`narrowing.py`), or be in half precision on hardware that multiplies it faster. So the form is measured: each query
gets the cheapest form whose scores of some examples are within the allowed error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from influence.attribution.products.active import Masks, masked_factors
from influence.attribution.products.forms import QueryFamily, QueryGroup, masked
from influence.attribution.products.low_rank import LowRank, add_dots, dots_by_direction, low_rank
from influence.attribution.products.narrowing import Bases, projected_factors, projected_vectors, smallest_bases
from influence.derivatives.first.factors import Factors, Outer

RANKS = (4, 6, 8, 10, 12, 16, 24, 32)
ERROR_MARGIN = 0.3
"""Share of the allowed error that the measured error may reach: on other examples it may be larger."""
RANK_MARGIN = 0.05
"""Largest loss of rank correlation (1 - Spearman's), as a share of the allowed error: scores must keep their order."""
GROUP_COST = 16
"""Fixed cost of a group, in units of the cost of one uncompressed query."""


class Form(NamedTuple):
    """A form of query vectors.

    Attributes:
        rank: of the vectors of linear layers; 0: not compressed.
        half: whether they are in half precision.
    """

    rank: int
    half: bool


UNCOMPRESSED = Form(0, False)


def compressed(
    vectors: Mapping[str, Tensor], factors: Factors, count: int, error: float, directions: Bases | None = None
) -> tuple[list[QueryFamily], dict[str, Any]]:
    """Each query's vectors in the cheapest form that `error` allows, and a report of the forms.

    Args:
        vectors: parameter -> (Q, size).
        factors: parameter -> factors of the examples that the error is measured on.
        count: number of these examples.
        error: largest |found - exact| / |exact| over these examples' scores that a query may have.
        directions: main directions of some layers, from other examples.

    Returns:
        The queries in their forms, projected ones first. And the report: `forms` (rank, half precision, projected or
        not, number of queries), `narrowed` (parameter -> number of directions that are kept, and of all), and `error`,
        the largest that was measured.
    """
    every = torch.arange(len(next(iter(vectors.values()))))
    whole = QueryFamily(every, vectors)
    whole.masks, left = masked(vectors, factors)
    exact, price = QueryGroup(every, left).dots(_masked(factors, whole.masks), count), _price(left, {}, UNCOMPRESSED)
    bases = smallest_bases(directions, vectors, factors, exact, error) if directions else {}
    families, worst, rest = [], 0.0, every
    for some in (bases, {}) if bases else ({},):
        family, cut = _project(whole, left, rest, factors, some)
        projected, exact_of_rest = projected_factors(factors, some), exact[:, rest.to(exact.device)]
        assigned, measured = _add_groups(family, cut, projected, exact_of_rest, error, price)
        worst, rest = max(worst, measured), rest[~assigned]
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


def _masked(factors: Factors, masks: Mapping[str, Masks]) -> Factors:
    return {name: masked_factors(one, masks.get(name, ()))[0] for name, one in factors.items()}


def _project(
    whole: QueryFamily, left: Mapping[str, Tensor], queries: Tensor, factors: Factors, bases: Bases
) -> tuple[QueryFamily, dict[str, Tensor]]:
    """A family of some queries in these bases, still without groups, and the masked entries of its vectors.

    Args:
        whole: all queries, uncompressed.
        left: the masked entries of their vectors.
        queries: (q,), rows of these.
        factors: of the examples that the masks come from.
        bases: of the layers to be projected.
    """

    def some(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        every = len(queries) == len(whole.queries)
        return {name: one if every else one[queries] for name, one in given.items()}

    turned = projected_vectors(some({name: whole.vectors[name] for name in bases}), bases)
    masks, cut = masked(turned, projected_factors({name: factors[name] for name in bases}, bases))
    family = QueryFamily(queries, some(whole.vectors) | turned, bases)
    family.masks = {name: one for name, one in whole.masks.items() if name not in bases} | masks
    return family, some(left) | cut


def _add_groups(
    family: QueryFamily, vectors: dict[str, Tensor], factors: Factors, exact: Tensor, error: float, price: float
) -> tuple[Tensor, float]:
    """Give each query of a family the cheapest form that is accurate enough, as groups of the family.

    Args:
        family: queries without groups.
        vectors: the masked entries of their vectors.
        factors: of the examples that the error is measured on, in the family's bases.
        exact: (n, Q), these examples' products with the uncompressed queries.
        error: as in `compressed`.
        price: of an uncompressed query. In a family without bases every query can be left uncompressed.

    Returns:
        Which queries have a form now, (Q,), and the largest error of these.
    """
    ready = _masked(factors, family.masks)
    thin, precisions = _low_rank_vectors(vectors, ready), _precisions(vectors)
    dots = {half: _dots_by_rank(vectors, thin, half, ready, len(exact)) for half in precisions}
    forms, ranks = _forms(vectors, thin, precisions), _ranks(exact)
    errors = torch.stack(
        [
            torch.zeros(exact.shape[1], dtype=exact.dtype)
            if form == UNCOMPRESSED and not family.bases
            else _errors(dots[form.half][form.rank], exact, ranks, error)
            for form in forms
        ]
    )
    prices = [_price(vectors, thin, form) for form in forms]
    chosen = _chosen(errors.isfinite(), prices, price, every=not family.bases)
    for number in chosen.unique().tolist():
        if number >= 0:
            family.groups.append(_group(vectors, thin, (chosen == number).nonzero().flatten(), forms[number]))
    assigned = chosen >= 0
    worst = errors.gather(0, chosen.clamp(min=0)[None])[0][assigned]
    return assigned, float(worst.max()) if len(worst) else 0.0


def _errors(dots: Tensor, exact: Tensor, ranks: Tensor, error: float) -> Tensor:
    """Relative error of every query's products, (Q,), on the CPU; inf where it or the loss of order is too large.

    Args:
        dots: (n, Q), products with the vectors in one form.
        exact: (n, Q), products with the uncompressed vectors.
        ranks: (Q, n), of `exact`.
        error: as in `compressed`.
    """
    apart = (dots - exact).norm(dim=0) / exact.norm(dim=0).clamp(min=1e-30)
    near = (apart <= ERROR_MARGIN * error).nonzero().flatten()
    near = near[_disorder(_ranks(dots[:, near]), ranks[near]) <= RANK_MARGIN * error]
    return torch.full_like(apart, torch.inf).index_copy_(0, near, apart[near]).cpu()


def _chosen(near: Tensor, prices: list[float], price: float, every: bool) -> Tensor:
    """Number of the form of each query, -1 for none: (Q,).

    Each query gets the cheapest form that is accurate enough. Then forms are dropped, one by one, while that lowers the
    total cost: every form in use has a fixed cost.

    Args:
        near: (forms, Q), whether a form is accurate enough for a query.
        prices: of the forms, multiplications an example and query, the cheapest first.
        price: of an uncompressed query, which a query without a form will cost.
        every: whether each query must have a form.
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
    """Ranks of the entries within each column of (n, Q): (Q, n)."""
    return dots.T.argsort(stable=True).argsort().double()


def _disorder(one: Tensor, other: Tensor) -> Tensor:
    """1 - Spearman's rank correlation of the rows of two matrices of ranks, (Q, n) each: (Q,)."""
    count = one.shape[1]
    return 6 * (one - other).square().sum(1) / max(1, count * (count**2 - 1))


def _group(vectors: Mapping[str, Tensor], thin: Mapping[str, LowRank], queries: Tensor, form: Form) -> QueryGroup:
    """The group of these queries, with their vectors in this form."""
    found: dict[str, Tensor | LowRank] = {}
    for name, one in vectors.items():
        if name in thin and 0 < form.rank <= thin[name].rank:
            found[name] = thin[name].leading(form.rank)[queries]
        else:  # all queries are not copied: their vectors may be memory-mapped
            found[name] = one if len(queries) == len(one) else one[queries]
    if form.half:
        found = {name: one.to(torch.bfloat16) for name, one in found.items()}
    return QueryGroup(queries, found, *form)


def _low_rank_vectors(vectors: Mapping[str, Tensor], factors: Factors) -> dict[str, LowRank]:
    """The vectors of linear layers, at the largest rank of `RANKS` that makes products at least twice as cheap."""
    found = {}
    for name, several in factors.items():
        one = several[0]
        if len(several) == 1 and isinstance(one, Outer) and one.groups == one.positions == 1:
            ranks = [rank for rank in RANKS if 2 * rank * sum(one.sides) < one.shape[1]]
            if ranks:
                found[name] = low_rank(vectors[name].unflatten(1, one.sides), ranks[-1])
    return found


def _precisions(vectors: Mapping[str, Tensor]) -> tuple[bool, ...]:
    """The values of `Form.half` to try."""
    one = next(iter(vectors.values()))
    return (False, True) if one.dtype == torch.float32 and halves_pay(one.device) else (False,)


def _forms(vectors: Mapping[str, Tensor], thin: Mapping[str, LowRank], precisions: tuple[bool, ...]) -> list[Form]:
    """The forms that are cheaper than the uncompressed one, the cheapest first, and the uncompressed one."""
    forms = [Form(rank, half) for rank in (0, *RANKS) for half in precisions]
    prices = {form: _price(vectors, thin, form) for form in [*forms, UNCOMPRESSED]}
    cheaper = [form for form in forms if prices[form] < prices[UNCOMPRESSED]]
    return [*sorted(cheaper, key=lambda form: prices[form]), UNCOMPRESSED]


def _price(vectors: Mapping[str, Tensor], thin: Mapping[str, LowRank], form: Form) -> float:
    """Multiplications of an example and a query in this form; two in half precision count as one."""
    sizes = {name: one.shape[1] for name, one in vectors.items()}
    sizes |= {n: form.rank * (t.left.shape[2] + t.right.shape[2]) for n, t in thin.items() if 0 < form.rank <= t.rank}
    return sum(sizes.values()) / (1 + form.half)


def _dots_by_rank(
    vectors: Mapping[str, Tensor], thin: Mapping[str, LowRank], half: bool, factors: Factors, count: int
) -> dict[int, Tensor]:
    """Dot products (count, Q) with the vectors at every rank; rank 0 is not compressed."""
    group = _group(vectors, {}, torch.arange(len(next(iter(vectors.values())))), Form(0, half))
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
    """Whether the hardware has instructions for bfloat16; without them it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = (getattr(torch.cpu, f"_is_{name}_supported", lambda: False) for name in ("avx512_bf16", "amx_tile"))
    return device.type == "cpu" and any(check() for check in known)
