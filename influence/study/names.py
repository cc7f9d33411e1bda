"""Names of parameters without what wrappers and adapters put into them.

`torch.compile`, data parallelism, checkpointing and `peft` wrap modules, so that `encoder.query.weight` becomes
`_orig_mod.base_model.model.encoder.query.base_layer.weight`. It is the same parameter.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

from torch import nn

from influence.errors import StudyError

SHELLS = {
    "module",  # DataParallel, DistributedDataParallel, AveragedModel
    "_orig_mod",  # torch.compile
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "base_layer",  # peft: the layer beside which an adapter stands
    "token_adapter",
    "original_module",
}
COPIES = {"modules_to_save", "ln_tuning_layers"}
"""peft's trained copies of a module, each under its adapter's name; `original_module` or `base_layer` is idle then."""
ADAPTED = ("base_layer", "parametrizations")
"""What stands in the name of a weight that is not used as it is."""


def unwrapped_pairs(where: str, here: Mapping[str, nn.Parameter], there: Mapping[str, nn.Parameter]) -> dict[str, str]:
    """Pairs {name here: name there} of one shape, and of one name without wrappers and adapters.

    Of a module that peft copied, the trained copy is taken: it begins at the original's values.

    Args:
        where: begins the messages of errors.
        here: a stage's parameters by name.
        there: the previous stage's; tied ones under all their names.

    Raises:
        StudyError: several parameters fit, or an adapter that was beside a weight there is not here.
    """
    origins: dict[str, list[str]] = {}
    for name in there:
        for form in dict.fromkeys(_bare(name.split("."))):
            origins.setdefault(form, []).append(name)
    claims: dict[str, list[str]] = {}
    for name, parameter in here.items():
        fitting = [
            origin
            for form in _bare(name.split("."))
            for origin in origins.get(form, ())
            if there[origin].shape == parameter.shape
        ]
        if fitting:
            claims.setdefault(_used(where, fitting, there), []).append(name)
    pairs = {_used(where, names, here): origin for origin, names in claims.items()}
    for name, origin in pairs.items():
        if _count(name, ADAPTED) < _count(origin, ADAPTED):
            raise StudyError(
                f"{where}: {name!r} would come from {origin!r}, which is not used as it is there, but with an adapter "
                "or parametrization. Was it merged? Keep it as it was in the model of this stage, or state what is "
                "inherited in `inherits`."
            )
    return pairs


def _bare(parts: Sequence[str]) -> Iterator[str]:
    """The name of these parts without wrappers and adapters; several, where a part may be the user's own."""
    if len(parts) < 2:
        yield ".".join(parts)
    elif parts[0] in SHELLS:
        yield from _bare(parts[1:])
    elif parts[0] in COPIES and len(parts) > 2:
        yield from _bare(parts[2:])
    elif parts[0] == "parametrizations" and parts[2:] == ["original"]:
        yield parts[1]
    elif parts[0] == "base_model":
        if parts[1] == "model" and len(parts) > 2:  # peft's adapters; its prompts leave out "model"
            yield from _bare(parts[2:])
        yield from _bare(parts[1:])
    else:
        yield from (f"{parts[0]}.{rest}" for rest in _bare(parts[1:]))


def _used(where: str, names: Sequence[str], parameters: Mapping[str, nn.Parameter]) -> str:
    """The one of several parameters of one bare name that the model uses, or that was there first.

    Raises:
        StudyError: that is not known.
    """
    chosen = list({id(parameters[name]): name for name in reversed(names)}.values())
    chosen = _most(_most(chosen, COPIES), ADAPTED)
    if _count(chosen[0], COPIES):  # of several adapters, the one that is trained
        chosen = [name for name in chosen if parameters[name].requires_grad] or chosen
    if len(chosen) > 1:
        raise StudyError(
            f"{where}: {chosen[0]!r} and {chosen[1]!r} are one name without what wrappers and adapters add, so that it "
            "is not known which of them is inherited. State the pairs in `inherits`."
        )
    return chosen[0]


def _most(names: Sequence[str], parts: Container[str]) -> list[str]:
    """The names in which `parts` stand most often."""
    most = max(_count(name, parts) for name in names)
    return [name for name in names if _count(name, parts) == most]


def _count(name: str, parts: Container[str]) -> int:
    return sum(part in parts for part in name.split("."))
