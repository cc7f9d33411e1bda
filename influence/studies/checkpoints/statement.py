"""What objective a checkpoint stands at: l2 and proximity that nobody stated, estimated from the gradient there.

A checkpoint that was trained to a minimum has g + l2 theta + 2 alpha (P - P_inherited) = 0, with g the gradient of its
mean loss. Most were not: AdamW's decay is no l2 term, and training ends early. Where no l2 and alpha make up for g,
none is taken, and damping takes their place. Proximity cannot be left out: without it nothing of an updated body's
influence reaches the pretraining. T steps of size s from the inherited values hold them as 2 alpha = 1 / (s T) does,
and over them the loss falls by about |P - P_inherited|^2 / (s T): what it fell by tells alpha.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import combinations

import torch
from torch import Tensor

from influence.attribution.misstatement import LIKELY, SURE
from influence.curvature.method import mean_curvature
from influence.derivatives import Objective
from influence.derivatives.first.gradients import gradient
from influence.derivatives.losses import checked_losses
from influence.derivatives.second.fisher import Fisher
from influence.errors import listed
from influence.study.parameters import groups_of, l2_of
from influence.study.stage import Stage

WEIGHTS, VECTORS = "weights", "biases and norms"
"""Groups that optimisers decay by different strengths: parameters of two dimensions or more, and all others."""
ALPHA = "proximity"
UNSTATED_DAMPING = 0.1
"""Share of the mean curvature that damps stages whose gradient no l2 explains."""
LAST_RESORT = 0.01
"""Proximity where the finetuning did not lower its loss, so that nothing tells it."""

AT_ONCE = 2**20
"""Entries of a parameter that are multiplied in double precision at once."""

Decay = float | Mapping[str, float]


@dataclass
class Statement:
    """Stages with every term of their objective.

    Attributes:
        stages: copies of the given ones with l2 and proximity; models and data are shared.
        notes: sentences: what was estimated, the gradient's norm with it and without, and warnings.
        damping: to be added to every stage's curvature; None: what the methods pick by themselves is right.
    """

    stages: list[Stage]
    notes: list[str] = field(default_factory=list)
    damping: float | None = None


def statement(stages: Sequence[Stage], *, l2: Decay | None = None, proximity: float | None = None) -> Statement:
    """Fill in what nobody said about the objectives of trained stages; a pass over each stage's data, or two.

    Args:
        stages: first to last, with data, loss, frozen and inherits; their l2 and proximity are not looked at.
        l2: of every stage, as `Stage` takes it; None: estimated, of weights and of biases and norms.
        proximity: of the stages that train what they inherited; None: estimated.

    Raises:
        StudyError, LossError: as the stages' own: patterns that match nothing, losses that are not finite.
    """
    made = Statement([])
    curvatures: list[float] = []
    for previous, given in zip((None, *stages), stages, strict=False):
        stage = copy.copy(given)
        stage.l2, stage.proximity = (0.0 if l2 is None else l2), (proximity or 0.0)
        stage.__post_init__()  # refuses what is no number
        groups = groups_of(stage, previous)
        if not groups.held:
            stage.proximity = 0.0
        objective = Objective(stage, groups)
        before = dict(previous.model.named_parameters()) if previous else {}
        terms = _Terms(objective, before, l2 is None, bool(groups.held) and proximity is None)
        stage.l2, stage.proximity = terms.decay(stage.l2), terms.alpha(stage.proximity)
        made.notes += terms.notes
        if groups.held and not stage.proximity:
            made.notes.append(
                f"{stage.name}: with proximity 0 nothing holds the parameters that it trains near those that it "
                "inherited, so that no influence reaches the stage before through them."
            )
        if terms.unexplained and l2 is None:
            curvatures.append(mean_curvature(objective, Fisher(objective)))
        made.stages.append(stage)
    positive = [each for each in curvatures if each > 0]
    if positive:
        made.damping = float(f"{UNSTATED_DAMPING * min(positive):.3g}")
        made.notes.append(
            f"Damping {made.damping:.3g} takes the place of the l2 that was not said: {UNSTATED_DAMPING:.0%} of the "
            "mean curvature. (--damping and --l2 say otherwise.)"
        )
    return made


class _Terms:
    """The terms of one stage's objective: those that were stated, and the strengths of the others by least squares.

    Of every trained parameter only the inner products of three vectors are kept: its gradient g, its values theta and
    d = 2 (theta - inherited). They tell the norm of g + l2 theta + alpha d for all l2 and alpha.

    Args:
        objective: with the terms that were stated.
        before: the previous stage's parameters by name.
        decays, holds: whether l2, and whether proximity, is to be estimated.

    Attributes:
        unexplained: whether most of the gradient is left with all terms.
    """

    def __init__(self, objective: Objective, before: Mapping[str, Tensor], decays: bool, holds: bool):
        self._objective, self._before, self._holds, self._decays = objective, before, holds, decays
        self._products = inner_products(objective, before)
        l2, held = l2_of(objective.stage), {*objective.groups.held}
        self._stated = {n: _column(1.0, l2[n], objective.stage.proximity * (n in held)) for n in self._products}
        groups: dict[str, list[str]] = {WEIGHTS: [], VECTORS: []}
        for name, shape in objective.trained.shapes.items():
            groups[WEIGHTS if len(shape) > 1 else VECTORS].append(name)
        self._groups = {group: names for group, names in groups.items() if names}
        self._acts = {**(self._groups if decays else {}), **({ALPHA: list(held)} if holds else {})}
        self._strengths = self._explaining()
        self._norm, self._left = self._norm_with({}), self._norm_with(self._strengths)
        self.unexplained = self._left > LIKELY * self._norm_of_data

    def _direction(self, term: str) -> Tensor:
        return _column(0.0, 0.0, 1.0) if term == ALPHA else _column(0.0, 1.0, 0.0)

    def _norm_with(self, strengths: Mapping[str, float], names: Sequence[str] | None = None) -> float:
        """Norm of the objective's gradient at some parameters, with terms of these strengths added to the stated."""
        total = 0.0
        for name in self._products if names is None else names:
            column = self._stated[name].clone()
            for term, strength in strengths.items():
                if name in self._acts[term]:
                    column += strength * self._direction(term)
            total += float(column @ self._products[name] @ column)
        return max(total, 0.0) ** 0.5

    @property
    def _norm_of_data(self) -> float:
        return sum(float(each[0, 0]) for each in self._products.values()) ** 0.5

    def _explaining(self) -> dict[str, float]:
        """Strengths of the terms that leave little of the gradient where they act; others are left out."""
        terms = [term for term in self._acts if self._inner(term, term) > 0]
        while terms:
            inner = {(a, b): self._inner(a, b) for a in terms for b in terms}
            found = not_negative(inner, {term: self._side(term) for term in terms})
            left = {
                term: self._norm_with(found, self._acts[term]) / max(self._norm_with({}, self._acts[term]), 1e-300)
                for term in terms
                if found[term]
            }
            poor = [term for term in terms if not found[term] or left[term] > LIKELY]
            if not poor:
                return found
            terms.remove(max(poor, key=lambda term: left.get(term, 2.0)))
        return {}

    def _inner(self, one: str, other: str) -> float:
        both = [name for name in self._acts[one] if name in self._acts[other]]
        return sum(float(self._direction(one) @ self._products[n] @ self._direction(other)) for n in both)

    def _side(self, term: str) -> float:
        return sum(float(self._direction(term) @ self._products[n] @ self._stated[n]) for n in self._acts[term])

    # What is stated with it

    def decay(self, stated: Decay) -> Decay:
        """l2 of the stage: as stated, a number, or patterns where weights decay otherwise than biases and norms."""
        if not self._decays:
            return stated
        weights, vectors = (_rounded(self._strengths.get(group, 0.0)) for group in (WEIGHTS, VECTORS))
        if weights == vectors or VECTORS not in self._groups:
            return weights
        if WEIGHTS not in self._groups:
            return vectors
        return {**dict.fromkeys(self._patterns(), vectors), "*": weights}

    def _patterns(self) -> list[str]:
        """Patterns that match all vectors and no matrix."""
        named = dict(self._objective.stage.model.named_parameters())
        vectors = self._groups[VECTORS]
        wide = [name for name in named if named[name].dim() > 1]
        found = []
        for name in vectors:
            starred = re.sub(r"(?<=\.)\d+(?=\.)|^\d+(?=\.)", "*", name)
            found.append(name if any(fnmatchcase(other, starred) for other in wide) else starred)
        return list(dict.fromkeys(found))

    def alpha(self, stated: float) -> float:
        """Proximity of the stage."""
        if not self._holds:
            return stated
        if ALPHA in self._strengths:
            return _rounded(self._strengths[ALPHA])
        distance = sum(float(each[2, 2]) for each in self._products.values()) / 4
        return _rounded(max(0.0, self._fall) / (2 * max(distance, 1e-300))) or LAST_RESORT

    @property
    def _fall(self) -> float:
        """By how much the mean loss is lower than with the inherited values, under the head as it is now; nats."""
        objective = self._objective
        origins = {n: self._before[objective.groups.inherited[n]] for n in objective.groups.held}
        there = objective.at({**objective.parameters, **origins})
        data = objective.stage.data
        return float((checked_losses(there, data).double() - checked_losses(objective, data).double()).mean())

    @property
    def notes(self) -> list[str]:
        """What was estimated, and what the gradient is with it and without."""
        norm, left = self._norm, self._left
        parts = [f"{self._norm_with({}, names):.2g} of {group}" for group, names in self._groups.items()]
        told = (
            f"{self._objective.stage.name}: the checkpoint stands where the gradient of the objective, as it was said, "
            f"has norm {norm:.2g} ({listed(parts, ' and ')}), 0 at a minimum."
        )
        found = {each: strength for each, strength in self._strengths.items() if each != ALPHA}
        if found:
            words = [f"{_rounded(strength):.3g} of {group}" for group, strength in found.items()]
            sure = "" if left <= SURE * norm else " That is a guess: say what the training had."
            told += f" l2 is estimated from it: {listed(words, ' and ')}, which leave {left:.2g}.{sure}"
        elif self._decays:
            told += (
                " No l2 explains it (an early end, AdamW's decay, dropout, label smoothing or augmentation could), so "
                "none is taken, and scores are those of a minimum nearby."
            )
        return [told + (" (--l2 says otherwise.)" if self._decays else ""), *self._told_of_alpha()]

    def _told_of_alpha(self) -> list[str]:
        if not self._holds:
            return []
        alpha = self.alpha(0.0)
        how = "estimated from the gradient"
        if ALPHA not in self._strengths:
            how = "estimated from how much the finetuning lowered its loss, as steps that end early hold parameters"
            if alpha == LAST_RESORT:
                how = "a last resort, since the finetuning did not lower the loss of its data"
        return [
            f"{self._objective.stage.name}: no term was said that holds what it trains near the pretrained values, and "
            f"without one no influence reaches the pretraining. Proximity {alpha:.3g} is taken, {how}: sizes of scores "
            "of the stage before go by it. (--proximity says otherwise.)"
        ]


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _column(gradient: float, l2: float, alpha: float) -> Tensor:
    return torch.tensor([gradient, l2, alpha], dtype=torch.float64)


def inner_products(objective: Objective, before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of every trained parameter, the inner products (3, 3) of its gradient, its values, and twice the way it went."""
    slopes, found = gradient(objective), dict[str, Tensor]()
    for name, place in objective.trained.slices.items():
        here, origin = objective.parameters[name].flatten(), objective.groups.inherited.get(name)
        there = None if origin is None else before[origin].detach().to(here).flatten()
        total = torch.zeros(3, 3, dtype=torch.float64)
        for start in range(0, len(here), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            point = here[part].double()
            moved = torch.zeros_like(point) if there is None else 2 * (point - there[part].double())
            rows = torch.stack([slopes[place][part].double(), point, moved])
            total += (rows @ rows.T).cpu()
        found[name] = total
    return found


def not_negative(inner: Mapping[tuple[str, str], float], sides: Mapping[str, float]) -> dict[str, float]:
    """Strengths, none negative, of few vectors that, added to another one, leave least of it.

    Args:
        inner: products of the vectors with each other.
        sides: their products with the other.
    """
    names, best = list(sides), (0.0, dict.fromkeys(sides, 0.0))
    for size in range(1, len(names) + 1):
        for chosen in combinations(names, size):
            matrix = torch.tensor([[inner[a, b] for b in chosen] for a in chosen], dtype=torch.float64)
            side = torch.tensor([sides[name] for name in chosen], dtype=torch.float64)
            found = torch.linalg.lstsq(matrix, -side[:, None]).solution[:, 0]
            change = float(2 * found @ side + found @ matrix @ found)  # of the squared norm
            if bool((found >= 0).all()) and change < best[0]:
                best = change, dict.fromkeys(sides, 0.0) | dict(zip(chosen, found.tolist(), strict=True))
    return best[1]
