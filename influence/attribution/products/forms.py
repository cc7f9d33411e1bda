"""Query vectors in the forms in which they are multiplied with the examples' gradients."""

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
    """Queries whose vectors have one form.

    Attributes:
        queries: their rows in the vectors that they stem from, (q,).
        vectors: parameter -> (q, size).
        rank: of those of linear layers; 0: as they are.
        half: whether they are of half precision.
    """

    queries: Tensor
    vectors: Mapping[str, Tensor | LowRank]
    rank: int = 0
    half: bool = False

    def dots(self, factors: Factors, count: int, others: Mapping[str, Tensor] | None = None) -> Tensor:
        """Dot products of `count` examples' gradients with its vectors, (count, q), in at least single precision.

        `others` are of parameters whose factors have other places than its vectors: (q, size).
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
    """Groups for which the examples' factors are made ready once.

    Attributes:
        queries: rows of its vectors among all queries', (q,).
        vectors: parameter -> (q, size), in the bases where there is one.
        bases: of the layers that are narrowed.
        places: in which examples have anything, of the parameters of which much is left out.
        groups: their vectors are of these places only.
    """

    queries: Tensor
    vectors: Mapping[str, Tensor]
    bases: Bases = field(default_factory=dict)
    places: Mapping[str, Masks] = field(default_factory=dict)
    groups: list[QueryGroup] = field(default_factory=list)

    def dots(self, factors: Factors, count: int) -> tuple[Tensor, Tensor]:
        """Of `count` examples: the queries (q,) and their dot products (count, q)."""
        ready, elsewhere = dict(projected_factors(factors, self.bases)), dict[str, Masks]()
        for name in self.places.keys() & ready.keys():
            ready[name], met = masked_factors(ready[name], self.places[name])
            if met is not self.places[name]:
                elsewhere[name] = met
        found = []
        for group in self.groups:
            others = {name: masked_vectors(self.vectors[name][group.queries], met) for name, met in elsewhere.items()}
            found.append(group.dots(ready, count, others))
        return torch.cat([self.queries[group.queries] for group in self.groups]), torch.cat(found, dim=1)


def masked(vectors: Mapping[str, Tensor], factors: Factors) -> tuple[dict[str, Masks], dict[str, Tensor]]:
    """Where these examples have anything, of the parameters of which much may be left out; the vectors of what is left.

    These are held beside the whole ones, so there is a bound on them.
    """
    room, kept = BUDGET, {}
    for name, several in factors.items():
        places = nonzero_masks(vectors[name], several)
        taken = len(vectors[name]) * entry_count(places) * vectors[name].element_size()
        if places and taken <= room:
            kept[name] = places
            room -= taken
    return kept, {name: masked_vectors(one, kept.get(name, ())) for name, one in vectors.items()}


def uncompressed(vectors: Mapping[str, Tensor], factors: Factors | None = None) -> QueryFamily:
    """All queries, their vectors (Q, size) by parameter as they are, but for places in which `factors` have nothing."""
    places, left = masked(vectors, factors or {})
    every = torch.arange(len(next(iter(vectors.values()))))
    return QueryFamily(every, vectors, places=places, groups=[QueryGroup(every, left)])


def products(families: list[QueryFamily], factors: Factors, count: int) -> Tensor:
    """Dot products of `count` examples' gradients with all queries' vectors, (count, Q)."""
    if len(families) == 1 and len(families[0].groups) == 1:
        return families[0].dots(factors, count)[1]
    queries, blocks = zip(*(family.dots(factors, count) for family in families), strict=True)
    return torch.cat(blocks, dim=1)[:, torch.cat(queries).argsort().to(blocks[0].device)]
