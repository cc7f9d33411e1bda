"""A state dict in safetensors or `.pt`, of a network that torchvision or timm can build."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from influence.errors import StudyError, listed, printable
from influence.studies.checkpoints.reading.saved import package
from influence.studies.checkpoints.reading.weight_files import (
    INDEX,
    SafeTensors,
    conversion,
    files_in,
    kinds_of,
    refuse_quantised,
    shards,
    unpickled,
)

TIMM = "timm:"
"""Before the name of a network of timm's; others are torchvision's."""
INNER = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""What compilation and parallel training put into the middle of names."""
MOST_TRIED = 30
"""Networks that are compared with weights that do not fit, to suggest one."""


def model_of(path: Path, arch: str) -> tuple[nn.Module, list[str]]:
    """The network `arch` with the weights of a file, or of a folder with one, in float32 and evaluation mode; notes.

    The number of classes is that of the weights' own head. Prefixes of wrappers are taken off the names.

    Raises:
        StudyError: there is no such network, or the weights are not of it.
    """
    build = _builder(arch)
    plain = build(None)
    names = plain.state_dict().keys()
    found, given = best_of(path, _read(path), names)
    refuse_quantised(path, kinds_of(given))
    prefix = prefix_of(given, names)
    notes = [f"{printable(path)}: {note}" for note in conversion(kinds_of(given))]
    if found:
        notes.append(f"{printable(path)}: the weights were taken from its entry {found!r}.")
    if prefix:
        notes.append(f"{printable(path)}: names were read without {printable(prefix)!r} before them.")
    own = {bare(name, prefix): name for name in given if name.startswith(prefix)}
    classes = _classes(build, own, given)
    model = plain if classes is None else build(classes)
    wanted = model.state_dict()
    extra = [name for name in own if name not in wanted and not name.startswith(("aux", "AuxLogits"))]
    wrong = {n: (tuple(t.shape), _shape(given, own.get(n))) for n, t in wanted.items() if not n.endswith(COUNTERS)}
    wrong = {name: shapes for name, shapes in wrong.items() if shapes[0] != shapes[1]}
    if wrong or extra:
        raise StudyError(_misfit(path, arch, wrong, extra, {n: _shape(given, k) for n, k in own.items()}))
    with torch.no_grad():
        for name, tensor in wanted.items():
            if name in own:
                tensor.copy_(given[own[name]])
    return model.eval(), notes


COUNTERS = "num_batches_tracked"
"""A buffer that old files lack, and that nothing depends on."""


def _read(path: Path) -> Any:
    if path.is_dir():
        files = files_in(path)
        return SafeTensors(files) if files[0].suffix == ".safetensors" else unpickled(files[0])
    if path.name.endswith(INDEX.removeprefix("model")):
        return SafeTensors(shards(path))
    return SafeTensors([path]) if path.suffix == ".safetensors" else unpickled(path)


def best_of(path: Path, held: Any, names: Collection[str]) -> tuple[str, Mapping[str, Tensor]]:
    """Of what a file holds, the entry whose names fit best (empty if it is all of it), and its tensors.

    Raises:
        StudyError: it holds no tensors under names.
    """
    candidates: dict[str, Mapping[str, Tensor]] = {}
    if isinstance(held, SafeTensors):
        return "", held
    if isinstance(held, Mapping):
        inner = {"": held, **{str(key): value for key, value in held.items() if isinstance(value, Mapping)}}
        for key, value in inner.items():
            tensors = {str(n): t for n, t in value.items() if isinstance(t, Tensor)}
            if tensors:
                candidates[key] = tensors
    if not candidates:
        what = f"a dictionary with {listed(map(str, held))}" if isinstance(held, Mapping) else type(held).__name__
        raise StudyError(
            f"{printable(path)} holds {printable(what)}, expected a state dict, names and tensors. Save it by "
            "`torch.save(model.state_dict(), ...)`."
        )
    best = max(candidates, key=lambda key: _fitting(candidates[key], names))
    return best, candidates[best]


def _fitting(tensors: Iterable[str], names: Collection[str]) -> int:
    given = list(tensors)
    prefix = prefix_of(given, names)
    return sum(bare(name, prefix) in names for name in given if name.startswith(prefix))


def prefix_of(given: Iterable[str], names: Collection[str]) -> str:
    """What stands before most of the given names that are otherwise among `names`; with its dot."""
    counts: Counter[str] = Counter()
    for name in given:
        parts = name.split(".")
        for cut in range(len(parts)):
            if bare(".".join(parts[cut:]), "") in names:
                counts["".join(f"{part}." for part in parts[:cut])] += 1
    # Of equally many the shortest: "layer1.0.conv1.weight" also ends in "conv1.weight".
    return max(counts, key=lambda prefix: (counts[prefix], -len(prefix)), default="")


def bare(name: str, prefix: str) -> str:
    """A name without a prefix, and without what wrappers put into its middle."""
    parts = name.removeprefix(prefix).split(".")
    return ".".join(part for part in parts if part not in INNER)


def _shape(given: Mapping[str, Tensor], name: str | None) -> tuple[int, ...] | None:
    if name is None:
        return None
    return given.shape(name) if isinstance(given, SafeTensors) else tuple(given[name].shape)


def _builder(arch: str) -> Any:
    """A function of a number of classes (None: the network's usual one) that builds the network, at random.

    Raises:
        StudyError: there is no such network.
    """
    if arch.startswith(TIMM):
        timm, name = package("timm", f"--arch {arch}"), arch.removeprefix(TIMM)
        if not timm.is_model(name):
            raise StudyError(
                f"timm {timm.__version__} has no network {name!r}.{_alike(name, timm.list_models())} "
                "`timm.list_models()` lists all; only its own are built, nothing is downloaded."
            )
        return lambda classes: timm.create_model(name, pretrained=False, **_counted(classes))
    from torchvision import models  # takes a second

    known = models.list_models(module=models)
    if arch not in known:
        raise StudyError(
            f"--arch is {arch!r}, which torchvision has no classifier of.{_alike(arch, known)} Networks of timm's are "
            f"asked for by {TIMM}NAME, for instance {TIMM}resnet18."
        )
    extra = {"init_weights": False, "aux_logits": False} if arch in ("googlenet", "inception_v3") else {}
    return lambda classes: models.get_model(arch, weights=None, **extra, **_counted(classes))


def _counted(classes: int | None) -> dict[str, int]:
    return {} if classes is None else {"num_classes": classes}


def _alike(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), 5)
    return f" Did you mean {listed(close, ' or ')}?" if close else ""


def _classes(build: Any, own: Mapping[str, str], given: Mapping[str, Tensor]) -> int | None:
    """The number of classes of the weights' head; None where they have none."""
    with torch.device("meta"):
        few, more = (dict(build(classes).named_parameters()) for classes in (2, 3))
    for name in few:
        if few[name].shape != more[name].shape and name in own:
            place = next(i for i, (a, b) in enumerate(zip(few[name].shape, more[name].shape, strict=True)) if a != b)
            shape = _shape(given, own[name])
            assert shape is not None
            return int(shape[place]) if place < len(shape) else None
    return None


# Weights that do not fit


def _misfit(
    path: Path,
    arch: str,
    wrong: Mapping[str, tuple[tuple[int, ...], tuple[int, ...] | None]],
    extra: list[str],
    shapes: Mapping[str, tuple[int, ...] | None],
) -> str:
    missing = [name for name, (_, there) in wrong.items() if there is None]
    other = {name: pair for name, pair in wrong.items() if pair[1] is not None}
    told = []
    if missing:
        told.append(f"the file lacks {len(missing)} ({listed(missing)})")
    if other:
        name, (here, there) = next(iter(other.items()))
        told.append(f"{len(other)} have another shape ({name}: {there} in the file, {here} in {arch})")
    if extra:
        told.append(f"{len(extra)} of the file have no place ({listed(map(printable, extra))})")
    fitting = [f"--arch {name}" for name in suggestions(arch, shapes)]
    hint = f"They fit {listed(fitting, ' or ')}." if fitting else "Say the --arch that they are of."
    return f"The weights in {printable(path)} are not of {arch}: {'; '.join(told)}. {hint}"


def suggestions(arch: str, shapes: Mapping[str, tuple[int, ...] | None]) -> list[str]:
    """Networks of the same family whose parameters have just the names and shapes of the weights, all but the head."""
    from torchvision import models

    family = re.split(r"[\d_]", arch.removeprefix(TIMM))[0]
    if arch.startswith(TIMM):
        import timm

        names = [f"{TIMM}{name}" for name in timm.list_models(f"{family}*")]
    else:
        names = [name for name in models.list_models(module=models) if name.startswith(family)]
    found = []
    for name in names[:MOST_TRIED]:
        try:
            with torch.device("meta"):
                parameters = dict(_builder(name)(None).named_parameters())
        except (RuntimeError, NotImplementedError, ValueError, TypeError):
            continue
        off = [n for n, p in parameters.items() if n not in shapes or math.prod(shapes[n] or ()) != p.numel()]
        if len(off) <= 2 and all(n in shapes for n in off):
            found.append(name)
        if len(found) == 3:
            break
    return found
