"""Sort a stage's parameters into groups: inherited, frozen, new, constant."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn

from influence.errors import StudyError, listed
from influence.study.names import unwrapped_pairs

if TYPE_CHECKING:
    from influence.study.stage import Stage


@dataclass(frozen=True)
class ParameterGroups:
    """A stage's parameters by role; each parameter is in exactly one of the four tuples.

    Names are those of `model.named_parameters()`: a tied weight appears once, under its first name.
    """

    frozen: tuple[str, ...]
    """F: inherited, held at the inherited value."""
    held: tuple[str, ...]
    """P: inherited and trained, held near the inherited value by the proximity term."""
    new: tuple[str, ...]
    """N: exists in this stage only, trained."""
    constant: tuple[str, ...]
    """Neither inherited nor trained, or made of integers: no influence flows through it."""
    inherited: Mapping[str, str] = field(default_factory=dict)
    """Name here -> name in the previous stage, for F and P."""


@dataclass(frozen=True)
class Size:
    """How large vectors over a stage's parameters are.

    `trained`, `whole`: entries over the trained (T) and over all parameters. `itemsize`: bytes of an entry, at least 4,
    since sums are not kept in half precision.
    """

    trained: int
    whole: int
    itemsize: int


def size_of(stage: Stage, previous: Stage | None) -> Size:
    """The size of a stage that inherits from `previous`.

    Raises:
        StudyError: as `groups_of`.
    """
    groups, named = groups_of(stage, previous), dict(stage.model.named_parameters())
    trained = sum(named[name].numel() for name in (*groups.held, *groups.new))
    itemsize = max(4, max(p.element_size() for p in named.values()))
    return Size(trained, sum(p.numel() for p in named.values()), itemsize)


def groups_of(stage: Stage, previous: Stage | None) -> ParameterGroups:
    """Sort the parameters of `stage` into groups.

    Raises:
        StudyError: a pattern in `frozen` or `l2` matches nothing, `inherits` names a parameter that does not exist or
            whose shape differs, or nothing at all is inherited from `previous`.
    """
    parameters = dict(stage.model.named_parameters())
    if not parameters:
        raise StudyError(f"Stage {stage.name!r}: the model has no parameters.")
    inherited = _inherited(stage, previous, parameters)
    still = _matching(stage, parameters)
    whole = tuple(n for n, p in parameters.items() if not p.is_floating_point())  # weights in few bits
    parameters = {n: p for n, p in parameters.items() if p.is_floating_point()}
    if still >= parameters.keys():
        raise StudyError(f"Stage {stage.name!r}: `frozen` covers every parameter, so the stage trains nothing.")
    l2_of(stage)  # its patterns are checked here, before anything is computed
    return ParameterGroups(
        frozen=tuple(n for n in parameters if n in still and n in inherited),
        held=tuple(n for n in parameters if n not in still and n in inherited),
        new=tuple(n for n in parameters if n not in still and n not in inherited),
        constant=whole + tuple(n for n in parameters if n in still and n not in inherited),
        inherited={n: inherited[n] for n in parameters if n in inherited},
    )


def _inherited(stage: Stage, previous: Stage | None, parameters: Mapping[str, nn.Parameter]) -> dict[str, str]:
    if previous is None:
        if stage.inherits:
            raise StudyError(f"Stage {stage.name!r} is the first, so it inherits nothing; remove `inherits`.")
        return {}
    if stage.inherits is not None:
        return _stated(stage, stage.inherits, previous, parameters)
    found = pairs_by_name(f"Stage {stage.name!r}", stage.model, previous.model)
    if not found:
        before = dict(previous.model.named_parameters())
        raise StudyError(
            f"Stage {stage.name!r} inherits nothing from {previous.name!r}: no parameter has equal name and shape. "
            f"Here: {listed(parameters)}. There: {listed(before)}. State the pairs in `inherits`."
        )
    return found


def pairs_by_name(where: str, model: nn.Module, previous: nn.Module) -> dict[str, str]:
    """Pairs {name here: name there} of parameters of equal name and shape; names without what wrappers add to them.

    Args:
        where: begins the messages of errors.
        model: of a stage.
        previous: of the stage before it.

    Raises:
        StudyError: as `unwrapped_pairs`.
    """
    before, there = dict(previous.named_parameters()), canonical_names(previous)
    real = {n: p for n, p in model.named_parameters() if p.is_floating_point()}
    origins = {n: before[c] for n, c in there.items() if before[c].is_floating_point()}
    found = {n: there[n] for n, p in real.items() if n in origins and p.shape == origins[n].shape}
    taken = set(found.values())
    others = {n: p for n, p in origins.items() if there[n] not in taken}
    unwrapped = unwrapped_pairs(where, {n: p for n, p in real.items() if n not in found}, others)
    return found | {name: there[origin] for name, origin in unwrapped.items()}


def _stated(
    stage: Stage, inherits: Mapping[str, str], previous: Stage, parameters: Mapping[str, nn.Parameter]
) -> dict[str, str]:
    before = dict(previous.model.named_parameters())
    here, there = canonical_names(stage.model), canonical_names(previous.model)
    found: dict[str, str] = {}
    for name, origin in inherits.items():
        if name not in here:
            raise StudyError(
                f"Stage {stage.name!r}: `inherits` names {name!r}, which its model lacks. It has {listed(parameters)}."
            )
        if origin not in there:
            raise StudyError(
                f"Stage {stage.name!r}: `inherits` takes {name!r} from {origin!r}, which stage "
                f"{previous.name!r} lacks. "
                f"It has {listed(before)}."
            )
        name, origin = here[name], there[origin]
        if parameters[name].shape != before[origin].shape:
            raise StudyError(
                f"Stage {stage.name!r}: {name!r} has shape {tuple(parameters[name].shape)}, but {origin!r} of stage "
                f"{previous.name!r} has {tuple(before[origin].shape)}; an inherited parameter keeps its shape."
            )
        if not parameters[name].is_floating_point() or not before[origin].is_floating_point():
            continue
        if found.get(name, origin) != origin:
            raise StudyError(
                f"Stage {stage.name!r}: `inherits` takes the tied weight {name!r} from both {found[name]!r} "
                f"and {origin!r}."
            )
        found[name] = origin
    if not found:
        raise StudyError(f"Stage {stage.name!r}: `inherits` is empty, so nothing comes from stage {previous.name!r}.")
    return found


def l2_of(stage: Stage) -> dict[str, float]:
    """Lambda of the l2 term of every parameter of the stage's model, by name.

    Raises:
        StudyError: a pattern in `l2` matches nothing.
    """
    parameters = dict(stage.model.named_parameters())
    if not isinstance(stage.l2, Mapping):
        return dict.fromkeys(parameters, stage.l2)
    names, found = canonical_names(stage.model), dict[str, float]()
    for pattern, strength in stage.l2.items():
        matches = fnmatch.filter(names, pattern)
        if not matches:
            raise StudyError(
                f"Stage {stage.name!r}: the pattern {pattern!r} in `l2` matches none of {listed(parameters)}."
            )
        for match in matches:
            found.setdefault(names[match], strength)
    return dict.fromkeys(parameters, 0.0) | found


def _matching(stage: Stage, parameters: Mapping[str, nn.Parameter]) -> set[str]:
    names, found = canonical_names(stage.model), set()
    for pattern in stage.frozen:
        matches = fnmatch.filter(names, pattern)
        if not matches:
            raise StudyError(
                f"Stage {stage.name!r}: the pattern {pattern!r} in `frozen` matches none of {listed(parameters)}."
            )
        found |= {names[match] for match in matches}
    return found


def canonical_names(model: nn.Module) -> dict[str, str]:
    """Every name of every parameter -> the name that `named_parameters` lists it under.

    Tied weights have several names. What was compiled has one with and one without what `torch.compile` puts into it.
    """
    first = {id(p): n for n, p in model.named_parameters()}
    listed = {n: first[id(p)] for n, p in model.named_parameters(remove_duplicate=False)}
    return {n.replace("_orig_mod.", ""): c for n, c in listed.items()} | listed
