"""Query vectors in the forms that products are taken with: families (projection, masks) of groups (rank, precision)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from influence.attribution.products.active import Masks, entry_count, masked_factors, masked_vectors, nonzero_masks
from influence.attribution.products.low_rank import LowRank, add_dots
from influence.attribution.products.narrowing import Bases, projected_factors
from influence.derivatives.first.factors import Factors
from influence.derivatives.objective import BUDGET


@dataclass
class QueryGroup:
    """Queries whose vectors have the same rank and precision.

    Attributes:
        queries: (q,), rows of the family's vectors.
        vectors: parameter -> (q, size).
        rank: of the vectors of linear layers; 0: not compressed.
        half: whether the vectors are in half precision.
    """

    queries: Tensor
    vectors: Mapping[str, Tensor | LowRank]
    rank: int = 0
    half: bool = False

    def dots(self, factors: Factors, count: int, others: Mapping[str, Tensor] | None = None) -> Tensor:
        """Dot products of `count` examples' gradients with the group's vectors, (count, q), in float32 at least.

        `others`, parameter -> (q, size), replaces the vectors of parameters whose factors have other masks.
        """
        one = next(iter(self.vectors.values()))
        like = one.left if isinstance(one, LowRank) else one
        dtype = torch.promote_types(like.dtype, torch.float32)
        found = torch.zeros(count, len(self.queries), dtype=dtype, device=like.device)
        for name, several in factors.items():
            add_dots(found, several, (others or {}).get(name, self.vectors[name]))
        return found


@dataclass
class QueryFamily:
    """Queries with the same bases and masks: each batch's factors are projected and masked once for all of them.

    Attributes:
        queries: (q,), positions among all queries.
        vectors: parameter -> (q, size), projected where the parameter has a basis.
        bases: parameter -> (R, r), of the projected layers.
        masks: parameter -> masks of its non-zero entries, where masking pays.
        groups: the queries by rank and precision; their vectors have the masked entries only.
    """

    queries: Tensor
    vectors: Mapping[str, Tensor]
    bases: Bases = field(default_factory=dict)
    masks: Mapping[str, Masks] = field(default_factory=dict)
    groups: list[QueryGroup] = field(default_factory=list)

    def dots(self, factors: Factors, count: int) -> tuple[Tensor, Tensor]:
        """The queries (q,), and their dot products (count, q) with the gradients of `count` examples."""
        ready, elsewhere = dict(projected_factors(factors, self.bases)), dict[str, Masks]()
        for name in self.masks.keys() & ready.keys():
            ready[name], met = masked_factors(ready[name], self.masks[name])
            if met is not self.masks[name]:
                elsewhere[name] = met
        found = []
        for group in self.groups:
            others = {name: masked_vectors(self.vectors[name][group.queries], met) for name, met in elsewhere.items()}
            found.append(group.dots(ready, count, others))
        return torch.cat([self.queries[group.queries] for group in self.groups]), torch.cat(found, dim=1)


def masked(vectors: Mapping[str, Tensor], factors: Factors) -> tuple[dict[str, Masks], dict[str, Tensor]]:
    """Masks of the parameters for which masking pays, by these examples, and the vectors' masked entries.

    The masked vectors are held beside the whole ones, in at most `BUDGET` bytes.
    """
    room, kept = BUDGET, {}
    for name, several in factors.items():
        masks = nonzero_masks(vectors[name], several)
        taken = len(vectors[name]) * entry_count(masks) * vectors[name].element_size()
        if masks and taken <= room:
            kept[name] = masks
            room -= taken
    return kept, {name: masked_vectors(one, kept.get(name, ())) for name, one in vectors.items()}


def uncompressed(vectors: Mapping[str, Tensor], factors: Factors | None = None) -> QueryFamily:
    """All queries in one family, with vectors (Q, size) as they are but for entries that are zero in `factors`."""
    masks, left = masked(vectors, factors or {})
    every = torch.arange(len(next(iter(vectors.values()))))
    return QueryFamily(every, vectors, masks=masks, groups=[QueryGroup(every, left)])


def products(families: list[QueryFamily], factors: Factors, count: int) -> Tensor:
    """Dot products of `count` examples' gradients with all queries' vectors, (count, Q)."""
    if len(families) == 1 and len(families[0].groups) == 1:
        return families[0].dots(factors, count)[1]
    queries, blocks = zip(*(family.dots(factors, count) for family in families), strict=True)
    return torch.cat(blocks, dim=1)[:, torch.cat(queries).argsort().to(blocks[0].device)]
