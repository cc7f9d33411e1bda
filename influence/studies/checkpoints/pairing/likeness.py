"""Whether two tensors of one shape have to do with each other: was one trained from the other, or begun anew?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from influence.errors import listed

APART = 0.5
"""Squared distance as a share of both squared norms from which on values may be unrelated; it is 1 if they are."""
CHANCE = 4.0
"""Standard deviations of the cosine of unrelated vectors (1 / sqrt(n)) within which a cosine is chance."""
NEAR = 0.1
"""Median of this share of all modules of a model whose body was kept, so that a module far away stands out."""
ROUNDED = 0.02
"""Relative distance above which a difference is more than the rounding of half precision."""


@dataclass(frozen=True)
class Likeness:
    """Sums over the entries of two tensors `here` and `there`.

    `here`, `there`, `between`: squared norms of both and of their difference. `inner`: their inner product. `entries`:
    how many. `equal`: whether they are the same, perhaps `rounded` to half precision.
    """

    here: float
    there: float
    between: float
    inner: float
    entries: int
    equal: bool
    rounded: bool = False

    @staticmethod
    def of(here: Tensor, there: Tensor) -> Likeness:
        there = there.to(here)
        if torch.equal(here, there):
            size = float(here.float().square().sum(dtype=torch.float64))
            return Likeness(size, size, 0.0, size, here.numel(), True)
        before = float(there.square().sum(dtype=torch.float64))
        between = float((here - there).square().sum(dtype=torch.float64))
        rounded = between < ROUNDED**2 * before and _rounded(here, there)
        size = float(here.square().sum(dtype=torch.float64))
        inner = float((here * there).sum(dtype=torch.float64))
        return Likeness(size, before, between, inner, here.numel(), rounded, rounded)

    @staticmethod
    def together(each: list[Likeness]) -> Likeness:
        """Of several tensors, as if they were one."""
        return Likeness(
            sum(one.here for one in each),
            sum(one.there for one in each),
            sum(one.between for one in each),
            sum(one.inner for one in each),
            sum(one.entries for one in each),
            all(one.equal for one in each),
        )

    @property
    def moved(self) -> float:
        """The distance as a share of the norm there."""
        return (self.between / self.there) ** 0.5 if self.there else float(self.between > 0)

    @property
    def share(self) -> float:
        """Squared distance as a share of both squared norms: 0 if equal, 1 if unrelated, up to 2."""
        return self.between / (self.here + self.there) if self.here + self.there else 0.0

    @property
    def alike(self) -> bool:
        return self.share < APART

    @property
    def by_chance(self) -> bool:
        """Whether the cosine is no larger than that of unrelated values may be."""
        return self.inner <= CHANCE / self.entries**0.5 * (self.here * self.there) ** 0.5


def _rounded(here: Tensor, there: Tensor) -> bool:
    """Whether one is the other in half precision."""
    for kind in (torch.bfloat16, torch.float16):
        if torch.equal(there.to(kind).to(here), here) or torch.equal(here.to(kind).to(here), there):
            return True
    return False


@dataclass
class Anew:
    """`names` of parameters that were begun anew, and `notes` that say why."""

    names: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def begun_anew(likeness: Mapping[str, Likeness], dims: Mapping[str, int]) -> Anew:
    """Parameters whose values have nothing to do with those that names and shapes would make their origin.

    A module's parameters are judged together. Vectors (biases, norms) are few, often begin at the same constants, and
    follow the matrices of their module, or of the modules beside them.

    Args:
        likeness: of every pair, by the name here.
        dims: of every parameter.
    """
    modules: dict[str, list[str]] = {}
    for name in likeness:
        modules.setdefault(name.rpartition(".")[0], []).append(name)
    judged = {
        module: Likeness.together([likeness[name] for name in names])
        for module, names in modules.items()
        if any(dims[name] > 1 for name in names)
    }
    far = {module: each for module, each in judged.items() if not each.alike and each.there}
    shares = sorted(each.share for each in judged.values())
    near = bool(shares) and shares[len(shares) // 2] < NEAR  # the median
    certain = [module for module, each in far.items() if each.by_chance]
    likely = [module for module in far if module not in certain and near]
    doubtful = [module for module in far if module not in certain and not near]
    found = Anew()
    fresh = {*certain, *likely}
    fresh |= {module for module in modules if module not in judged and _beside(module, judged, fresh)}
    found.names = {name for module in fresh for name in modules[module]}
    if certain:
        found.notes.append(
            f"Names and shapes of {_told(certain)} are those of the pretrained model, but the values have nothing to "
            "do with those there: begun anew, so new. (--inherits says otherwise.)"
        )
    if likely:
        found.notes.append(
            f"Names and shapes of {_told(likely)} are those of the pretrained model, but the values are far from those "
            "there, whereas most others are near: taken for new. Say --inherits if they were trained from those there."
        )
    if doubtful:
        found.notes.append(
            f"{_told(doubtful)} moved far from the pretrained values, as much else did: taken for inherited and "
            "trained. Say --new if they were begun anew."
        )
    return found


def _told(modules: list[str]) -> str:
    return listed([module or "the model itself" for module in modules], " and ")


def _beside(module: str, judged: Mapping[str, Likeness], fresh: set[str]) -> bool:
    """Whether all modules with matrices in the nearest folder around, that has such, were begun anew."""
    around = module
    while around:
        around = around.rpartition(".")[0]
        inside = [other for other in judged if around and other.startswith(f"{around}.")] + [
            other for other in judged if other == around
        ]
        if inside:
            return bool(around) and set(inside) <= fresh
    return False
