"""Which parameters of a finetuned model come from a pretrained one, worked out from their names, shapes and values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from influence.errors import StudyError, listed
from influence.studies.checkpoints.pairing.likeness import Likeness, begun_anew
from influence.studies.checkpoints.pairing.table import Row, lines_of
from influence.studies.checkpoints.reading.state_dict import prefix_of
from influence.study.parameters import canonical_names, pairs_by_name

STATISTICS = ("running_mean", "running_var")
"""Last parts of names of what batch normalisation counts."""


@dataclass
class Correspondence:
    """Where a finetuned model's parameters come from; names are those of `named_parameters()`.

    Attributes:
        inherits: name here -> name in the pretrained model.
        frozen: inherited and not trained, or not trained at all.
        new: that the finetuning began anew.
        tied: further name of a parameter -> the name that it is listed under.
        moved: of each that is inherited, how far it is from its origin, as a share of the origin's norm.
        sizes: entries of each parameter.
        notes: what was decided by the values, and whatever should be known of it.
    """

    inherits: dict[str, str]
    frozen: list[str]
    new: list[str]
    tied: dict[str, str] = field(default_factory=dict)
    moved: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """A table: module, entries, what it is, how far it moved. Numbered modules of one kind share a line."""
        still, fresh = set(self.frozen), set(self.new)
        rows = []
        for name, size in self.sizes.items():
            what = "new" if name in fresh else "inherited and trained"
            if name in still:
                what = "inherited and frozen" if name in self.inherits else "not trained"
            rows.append(Row(name, size, what, self.moved.get(name)))
        return [*lines_of(rows, self.tied), *self.notes]


def correspondence(
    pretrained: nn.Module,
    finetuned: nn.Module,
    *,
    frozen: Sequence[str] = (),
    inherits: Mapping[str, str] | None = None,
    new: Sequence[str] = (),
) -> Correspondence:
    """Pair a finetuned model's parameters with those that it began from.

    What is not stated is worked out: equal name (without what wrappers, adapters and a body's prefix add) and shape is
    inherited; inherited and equal is frozen; a module of equal name and shape whose values have nothing to do with
    those there was begun anew; all else is new.

    Args:
        pretrained: the model before.
        finetuned: the model after.
        frozen: patterns of parameters or modules that are not trained.
        inherits: {parameter or module here: there}, for those that names do not tell, or that were taken for new.
        new: patterns of parameters or modules that were begun anew.

    Raises:
        StudyError: a pattern matches nothing, a stated pair does not fit, or the models do not belong together.
    """
    here, there = dict(finetuned.named_parameters()), dict(pretrained.named_parameters())
    pairs = _pairs(pretrained, finetuned)
    stated = _stated(finetuned, pretrained, inherits or {})
    anew = _matching("new", new, finetuned)
    pairs = {n: o for n, o in (pairs | stated).items() if n not in anew or n in stated}
    notes = _other_shapes(here, there, pairs, anew)
    _refuse_strangers(here, there, pairs)
    likeness = {n: Likeness.of(here[n].detach(), there[o].detach()) for n, o in pairs.items()}
    held = {name: each for name, each in likeness.items() if name not in stated}
    found = begun_anew(held, {name: here[name].dim() for name in held})
    if (
        held
        and {n for n in held if here[n].dim() > 1 and not likeness[n].equal} <= found.names
        and not (any(likeness[n].equal for n in held if here[n].dim() > 1) or stated)
    ):
        raise StudyError(
            f"The two models do not belong together: names and shapes agree, but no value of the finetuned one has "
            f"anything to do with those of the pretrained one ({listed(found.names)}). Give the checkpoint that the "
            "finetuning began from, or state in --inherits what it took over."
        )
    notes += found.notes
    pairs = {n: o for n, o in pairs.items() if n not in found.names}
    still = _matching("frozen", frozen, finetuned)
    notes += _moved_though_frozen(still, likeness)
    still |= {n for n in pairs if likeness[n].equal} | {n for n, p in here.items() if not p.requires_grad}
    trained = [n for n, p in here.items() if n not in still and p.is_floating_point()]
    if not trained:
        raise StudyError(
            "Every parameter of the finetuned model is equal to the pretrained one's: the finetuning trained nothing. "
            "Are both the same checkpoint?"
        )
    rounded = [n for n in pairs if likeness[n].rounded]
    if rounded:
        notes.append(
            f"{len(rounded)} parameters differ from the pretrained ones by the rounding of half precision alone, and "
            "count as frozen."
        )
    canonical = canonical_names(finetuned)
    return Correspondence(
        inherits={n: pairs[n] for n in here if n in pairs},
        frozen=[n for n in here if n in still],
        new=[n for n in trained if n not in pairs],
        tied={n: c for n, c in canonical.items() if n != c and "_orig_mod." not in n},
        moved={n: likeness[n].moved for n in pairs},
        sizes={n: p.numel() for n, p in here.items()},
        notes=[*notes, *_statistics(pretrained, finetuned)],
    )


# Pairs by name


def _pairs(pretrained: nn.Module, finetuned: nn.Module) -> dict[str, str]:
    """By equal names; where one model holds the other's body under a name, by what follows it."""
    found = pairs_by_name("The finetuned model", finetuned, pretrained)
    here, there = canonical_names(finetuned), canonical_names(pretrained)
    own, before = dict(finetuned.named_parameters()), dict(pretrained.named_parameters())
    left = [name for name in here if here[name] not in found]
    prefixed = {"": found}
    for prefix, strip_here in ((prefix_of(left, there), True), (prefix_of(there, here.keys()), False)):
        if prefix:
            more = {
                here[n]: there[o]
                for n, o in ((n, n.removeprefix(prefix) if strip_here else prefix + n) for n in left)
                if n.startswith(prefix if strip_here else "") and o in there
            }
            fitting = {n: o for n, o in more.items() if own[n].shape == before[o].shape}
            prefixed[prefix] = {**fitting, **found}
    return max(prefixed.values(), key=lambda pairs: sum(own[n].numel() for n in pairs))


def _stated(finetuned: nn.Module, pretrained: nn.Module, inherits: Mapping[str, str]) -> dict[str, str]:
    """The pairs of parameters that a person states, of parameters or of whole modules."""
    here, there = canonical_names(finetuned), canonical_names(pretrained)
    own, before = dict(finetuned.named_parameters()), dict(pretrained.named_parameters())
    found = {}
    for name, origin in inherits.items():
        names = [name] if name in here else [each for each in here if each.startswith(f"{name}.")]
        if not names:
            raise StudyError(f"--inherits names {name!r}, which the finetuned model lacks. It has {listed(own)}.")
        for each in names:
            source = origin + each.removeprefix(name)
            if source not in there:
                raise StudyError(
                    f"--inherits takes {each!r} from {source!r}, which the pretrained model lacks. It has "
                    f"{listed(before)}."
                )
            if own[here[each]].shape != before[there[source]].shape:
                raise StudyError(
                    f"--inherits takes {each!r} of shape {tuple(own[here[each]].shape)} from {source!r} of shape "
                    f"{tuple(before[there[source]].shape)}; an inherited parameter keeps its shape."
                )
            found[here[each]] = there[source]
    return found


def _matching(option: str, patterns: Sequence[str], model: nn.Module) -> set[str]:
    """Parameters that patterns match, by their names or by those of modules that hold them."""
    canonical, found = canonical_names(model), set[str]()
    for pattern in patterns:
        matches = [n for n in canonical if fnmatchcase(n, pattern) or fnmatchcase(n, f"{pattern}.*")]
        if not matches:
            raise StudyError(
                f"--{option}: the pattern {pattern!r} matches no parameter of the finetuned model, which has "
                f"{listed(dict(model.named_parameters()))}."
            )
        found |= {canonical[match] for match in matches}
    return found


# What should be known


def _refuse_strangers(
    here: Mapping[str, nn.Parameter], there: Mapping[str, nn.Parameter], pairs: Mapping[str, str]
) -> None:
    """Raise StudyError unless some matrix is inherited, and most parameters of one name have one shape."""
    matrices = [name for name in pairs if here[name].dim() > 1]
    other = [n for n in here if n in there and n not in pairs and here[n].shape != there[n].shape]
    if matrices and len(other) <= len(pairs):
        return
    alone = [n for n in here if n not in pairs]
    shapes = [f"{n} {tuple(here[n].shape)}, there {tuple(there[n].shape)}" for n in other[:3]]
    raise StudyError(
        "The two models do not belong together: "
        + (f"of equal names the shapes differ ({'; '.join(shapes)})" if shapes else "no names and shapes agree")
        + f". Without a partner are, in the finetuned one, {listed(alone)}; in the pretrained one, "
        f"{listed([n for n in there if n not in pairs.values()])}. Give the checkpoint that the finetuning began from, "
        "or state the pairs in --inherits."
    )


def _other_shapes(
    here: Mapping[str, nn.Parameter],
    there: Mapping[str, nn.Parameter],
    pairs: Mapping[str, str],
    anew: Iterable[str],
) -> list[str]:
    """Notes on embeddings that were resized: their rows were inherited, but no influence passes through them."""
    skip = {*pairs, *anew}
    return [
        f"{name} has shape {tuple(parameter.shape)}, before {tuple(there[name].shape)}: it counts as new, although "
        "part of it was inherited, so that influence on the pretraining through it is not seen."
        for name, parameter in here.items()
        if name in there
        and name not in skip
        and 1 < parameter.dim() == there[name].dim()
        and _grown(parameter, there[name])
    ]


def _grown(parameter: Tensor, before: Tensor) -> bool:
    """Whether the rows (or columns) that both have are nearly the same."""
    common = tuple(slice(0, min(a, b)) for a, b in zip(parameter.shape, before.shape, strict=True))
    return Likeness.of(parameter.detach()[common], before.detach()[common]).alike


def _moved_though_frozen(still: Iterable[str], likeness: Mapping[str, Likeness]) -> list[str]:
    other = [n for n in still if n in likeness and not likeness[n].equal]
    if not other:
        return []
    farthest = max(other, key=lambda name: likeness[name].moved)
    return [
        f"{len(other)} parameters are stated to be frozen, but are not those of the pretrained model ({farthest} by "
        f"{likeness[farthest].moved:.2g} of its norm): what trained them is not seen."
    ]


def _statistics(pretrained: nn.Module, finetuned: nn.Module) -> list[str]:
    """A note if batch normalisation counted on while finetuning."""
    there = {n: b for n, b in pretrained.named_buffers() if n.endswith(STATISTICS)}
    here = dict(finetuned.named_buffers())
    other = [n for n, b in there.items() if n in here and here[n].shape == b.shape and not torch.equal(b, here[n])]
    if not other:
        return []
    return [
        f"The finetuning counted {len(other)} statistics of batch normalisation anew ({other[0]}): influence through "
        "them is not seen, only that through parameters."
    ]
