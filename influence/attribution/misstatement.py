"""What the gradient at a trained stage says of the objective that was minimised, where it is not the stated one.

At a minimum of the true objective its gradient is 0, so that the gradient of the stated one is the difference of
the two. Each explanation is another objective; it holds if the gradient vanishes under it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from influence.derivatives import Objective
from influence.derivatives.first.gradients import gradient as gradient_of
from influence.derivatives.objective import restricted
from influence.errors import SHOWN, LossError, StudyError, listed

SURE, LIKELY = 0.1, 0.5
"""Share of the gradient that an explanation may leave: above `LIKELY` it explains nothing."""
SOME_EXAMPLES, POSSIBLE = 256, 0.6
"""Examples by which smoothed labels are tried first, and the share that may be left then, since these are not all."""
MOST_SMOOTHED = 0.4
"""Share of smoothing above which a gradient is that of a training that has hardly begun."""
MAX_STRENGTHS = 3
"""Lambdas that groups of parameters may have, besides 0 and the stated ones."""
MIN_FREEDOM = 5
"""Parameters' entries beyond the explanation's own numbers: fewer are explained by chance."""


@dataclass
class Explanation:
    """Another objective. `left`: the share of the stated one's gradient that it leaves; `sentence`: what to state."""

    left: float
    sentence: str

    @property
    def is_sure(self) -> bool:
        return self.left <= SURE


def refuse_heads_begun_anew(objective: Objective, before: Mapping[str, Tensor], gradient: Tensor) -> None:
    """Raise StudyError if the gradient (T,) of the stated objective vanishes once some parameters are called new.

    Only the proximity of these parameters is then what the gradient consists of: nothing held them near the values
    that they are said to have inherited. Their names and shapes are those of other parameters, a head's most often.
    """
    found = _anew(objective, before, gradient)
    if found is None:
        return
    names, left = found
    rest = {n: origin for n, origin in objective.groups.inherited.items() if n not in names}
    if left > SURE or not rest:
        return
    norm = float(gradient.norm())
    raise StudyError(
        f"Stage {objective.stage.name!r}: {listed(names, ' and ')} count as inherited, since names and shapes "
        f"are those of the stage before, but nothing held them near the values there: the objective's gradient is "
        f"{norm:.2g}, and {left * norm:.2g} if they are called new. They were begun anew, or trained without this "
        f"term, so state {inherits_line(rest, objective)}."
    )


def best_explanation(objective: Objective, before: Mapping[str, Tensor], gradient: Tensor) -> Explanation | None:
    """The objective that leaves the smallest share of the gradient (T,), if it leaves little.

    Where none does, the values may tell: parameters that have nothing to do with the inherited ones, whereas others do.
    """
    everything = list(_explanations(objective, before, gradient))
    best = min(everything, key=lambda each: each.left, default=None)
    if best and best.left <= LIKELY:
        return best
    anew = _anew(objective, before, gradient)
    return _called_new(objective, gradient, *anew) if anew and _unrelated(objective, before, anew[0]) else None


def _explanations(objective: Objective, before: Mapping[str, Tensor], gradient: Tensor) -> Iterator[Explanation]:
    norm = float(gradient.norm())
    pull = objective.displacement(before).to(gradient)
    anew = _anew(objective, before, gradient)
    if anew is not None:
        yield _called_new(objective, gradient, *anew)
    if pull.any() and int(pull.count_nonzero()) > MIN_FREEDOM:
        change = -float(gradient @ pull) / float(pull @ pull)
        alpha, left = objective.stage.proximity + change / 2, float((gradient + change * pull).norm()) / norm
        if alpha > -SURE * objective.stage.proximity:
            yield Explanation(
                left,
                f"With proximity={max(0, alpha):.3g} the gradient would be {left * norm:.2g}: if the training had this "
                "term, state it.",
            )
    decay = _decay(objective, gradient)
    if decay is not None:
        found, left = decay
        yield Explanation(
            left,
            f"With l2={_l2_line(found)} the gradient would be {left * norm:.2g}: if the training decayed so, state it.",
        )
    smoothing = _smoothing(objective, gradient, pull)
    if smoothing is not None:
        share, left = smoothing
        yield Explanation(
            left,
            f"With labels smoothed by {share:.2g} the gradient would be {left * norm:.2g}: if they were, state the "
            f"loss with label_smoothing={share:.2g}.",
        )


def _called_new(objective: Objective, gradient: Tensor, names: list[str], left: float) -> Explanation:
    rest = {n: origin for n, origin in objective.groups.inherited.items() if n not in names}
    return Explanation(
        left,
        f"With nothing to hold {listed(names, ' and ')} near the inherited values the gradient would be "
        f"{left * float(gradient.norm()):.2g}: if they were begun anew, or trained without this term, state "
        f"{inherits_line(rest, objective) if rest else 'proximity=0'}.",
    )


def _anew(objective: Objective, before: Mapping[str, Tensor], gradient: Tensor) -> tuple[list[str], float] | None:
    """Inherited parameters whose gradient is smaller without proximity, and the share of all of it that is left then.

    The other terms g balance the pull p of proximity where there was one: g = -p. Where there was none, g has nothing
    to do with p. Between the two lies |g| = |g + p|. A module's parameters are judged together, since biases are few.
    """
    if not objective.stage.proximity:
        return None
    pull = 2 * objective.stage.proximity * objective.displacement(before)
    modules: dict[str, list[str]] = {}
    for name in objective.groups.held:
        modules.setdefault(name.rpartition(".")[0], []).append(name)
    names, left = list[str](), gradient.clone()
    for several in modules.values():
        places = [objective.trained.slices[name] for name in several]
        stated = torch.cat([gradient[place] for place in places])
        if (stated - torch.cat([pull[place] for place in places])).norm() < stated.norm():
            names += several
            for place in places:
                left[place] = gradient[place] - pull[place]
    return (names, float(left.norm() / gradient.norm())) if names else None


def _unrelated(objective: Objective, before: Mapping[str, Tensor], names: Sequence[str]) -> bool:
    """Whether these parameters lie as far from the inherited values as independent ones do, and all others near."""

    def apart(name: str) -> bool:
        here, there = objective.parameters[name], before[objective.groups.inherited[name]].to(objective.device)
        return bool((here - there).square().sum() > 0.5 * (here.square().sum() + there.square().sum()))

    # Vectors of biases are small and few: what they resemble is chance.
    matrices = [n for n in objective.groups.held if objective.parameters[n].dim() > 1]
    return any(n in names for n in matrices) and all(apart(n) == (n in names) for n in matrices)


def _decay(objective: Objective, gradient: Tensor) -> tuple[dict[str, float], float] | None:
    """Lambda of every trained parameter, out of few values, and the share of the gradient that is left with these."""
    point = objective.trained.flatten(objective.parameters).to(gradient)
    bare = gradient - objective.l2 * point  # what an l2 term has to balance
    slices, values = objective.trained.slices, sorted({0.0, *objective.l2.unique().tolist()})
    for _ in range(MAX_STRENGTHS + 1):
        found = {}
        for name, place in slices.items():
            found[name] = min(values, key=lambda v, p=place: float((bare[p] + v * point[p]).norm()))  # type: ignore[misc]
        rest = bare + torch.cat([found[name] * point[place] for name, place in slices.items()])
        if float(rest.norm()) <= SURE * float(gradient.norm()):
            break
        worst = max(slices.values(), key=lambda place: float(rest[place].norm()))
        size = float(point[worst] @ point[worst])
        fitted = -float(bare[worst] @ point[worst]) / size if size else 0.0
        if fitted <= 0:
            break
        values.append(float(f"{fitted:.3g}"))
    if len(point) - len(slices) < MIN_FREEDOM:
        return None
    return found, float(rest.norm() / gradient.norm())


def _smoothing(objective: Objective, gradient: Tensor, pull: Tensor) -> tuple[float, float] | None:
    """Share by which labels seem to be smoothed, and the share of the gradient that is left.

    With the cross-entropy C and the mean U of all classes' losses, the smoothed loss is (1 - e) C + e U. Where its
    gradient and that of the other terms add up to 0, the stated gradient is e (grad C - grad U).
    """

    def uniform(outputs: object, batch: object) -> Tensor:
        logits = outputs if isinstance(outputs, Tensor) else getattr(outputs, "logits", None)
        if not isinstance(logits, Tensor) or logits.dim() < 2:
            raise LossError("not logits")
        return -logits.log_softmax(-1).flatten(1).mean(1)

    data = gradient - objective.l2 * objective.trained.flatten(objective.parameters)
    data -= 2 * objective.stage.proximity * pull
    count, found = len(objective.stage.data), None
    # A pass over all data is worth its time only where some examples have let it seem possible.
    for step in dict.fromkeys((-(-count // SOME_EXAMPLES), 1)):
        try:
            difference = data - gradient_of(restricted(objective, range(0, count, step)), uniform)
        except LossError:
            return None
        size = float(difference @ difference)
        share = float(gradient @ difference) / size if size else 0.0
        left = float((gradient - share * difference).norm() / gradient.norm())
        if not 1e-4 < share < MOST_SMOOTHED or left > POSSIBLE:
            return None
        found = share, left
    return found


# The line to state


def inherits_line(pairs: Mapping[str, str], objective: Objective) -> str:
    """`inherits={...}` with these pairs, name here -> name there; by a rule where they are many."""
    left_out = [n for n in objective.all.shapes if n not in pairs]
    prefixes = tuple(dict.fromkeys(n.rpartition(".")[0] + "." if "." in n else n for n in left_out))
    by_rule = all(here == there and not here.startswith(prefixes) for here, there in pairs.items())
    if len(pairs) <= SHOWN or not by_rule:
        return "inherits={" + ", ".join(f"{here!r}: {there!r}" for here, there in pairs.items()) + "}"
    rule = f" if not n.startswith({prefixes!r})" if prefixes else ""
    return f"inherits={{n: n for n, _ in model.named_parameters(){rule}}}"


def _l2_line(found: Mapping[str, float]) -> str:
    """A number, or patterns of which the first that matches counts, for lambdas by parameter."""
    values = set(found.values())
    if len(values) == 1:
        return f"{values.pop():.3g}"
    patterns: dict[str, float] = {}
    for last in dict.fromkeys(name.rpartition(".")[2] for name in found):
        alike = {n: v for n, v in found.items() if n.rpartition(".")[2] == last}
        usual = max(set(alike.values()), key=lambda v: (list(alike.values()).count(v), v))
        patterns |= {_starred(n, alike): v for n, v in alike.items() if v != usual}
        patterns |= {f"*.{last}" if any("." in n for n in alike) else last: usual}
    if not _gives(patterns, found):
        patterns = dict(found)
    for pattern in [p for p, v in patterns.items() if not v]:
        fewer = {p: v for p, v in patterns.items() if p != pattern}
        patterns = fewer if _gives(fewer, found) else patterns
    written = [f"{pattern!r}: {value:.3g}" for pattern, value in patterns.items()]
    return "{" + ", ".join(written[:SHOWN]) + (", ..." if len(written) > SHOWN else "") + "}"


def _gives(patterns: Mapping[str, float], found: Mapping[str, float]) -> bool:
    return all(next((v for p, v in patterns.items() if fnmatchcase(n, p)), 0.0) == value for n, value in found.items())


def _starred(name: str, alike: Mapping[str, float]) -> str:
    """The name with numbers replaced by `*`, if all that it matches have its value."""
    pattern = ".".join("*" if part.isdigit() else part for part in name.split("."))
    return pattern if all(v == alike[name] for n, v in alike.items() if fnmatchcase(n, pattern)) else name
