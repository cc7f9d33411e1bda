"""Which output of a classifier's head a folder of pictures is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from influence.errors import StudyError, listed, printable
from influence.studies.checkpoints.checkpoint import NAMELESS, Checkpoint
from influence.studies.checkpoints.reading.state_dict import TIMM
from influence.studies.lookalikes import folded

IMAGENET = 1000


def head_classes(checkpoint: Checkpoint, outputs: int) -> list[str]:
    """Names of a head's outputs, as the checkpoint tells them; empty if it does not.

    Args:
        checkpoint: of an image classifier.
        outputs: of its head.
    """
    if checkpoint.config is not None:
        named = checkpoint.config.id2label or {}
        names = [str(named.get(i, f"LABEL_{i}")) for i in range(outputs)]
        return [] if all(NAMELESS.fullmatch(name) for name in names) else names
    if outputs != IMAGENET:
        return []
    if checkpoint.architecture.startswith(TIMM):
        from timm.data import ImageNetInfo

        return [str(ImageNetInfo().index_to_description(i)) for i in range(outputs)]
    from torchvision import models

    return [str(name) for name in models.get_model_weights(checkpoint.architecture).DEFAULT.meta["categories"]]


def by_number(root: Path, numbers: Sequence[str], outputs: int) -> dict[str, int]:
    """Number of an output, as tar files tell a picture's class -> output of the head.

    Raises:
        StudyError: the head has no such output.
    """
    beyond = [name for name in numbers if int(name) >= outputs]
    if beyond:
        raise StudyError(
            f"{printable(root)} has pictures of the class {beyond[0]}, the model's head {outputs} outputs, 0 to "
            f"{outputs - 1}. Give the pictures that it was trained on."
        )
    return {name: int(name) for name in numbers}


def numbered(
    root: Path, folders: Sequence[str], names: Sequence[str], outputs: int, known: Mapping[str, int] | None = None
) -> tuple[dict[str, int], list[str]]:
    """Folder -> output of the head, and notes.

    By the names of the outputs, if the checkpoint has such. Else as training on folders numbers them, in alphabetical
    order; where there are fewer folders than outputs, names that are numbers are the outputs'.

    Args:
        root: that holds the folders; named in errors.
        folders: their names.
        names: of the outputs, or empty.
        outputs: of the head.
        known: folder -> output, of the folder that the model was trained on; others of this stage are looked up there.

    Raises:
        StudyError: the head has no such output.
    """
    if known is not None and all(folder in known for folder in folders):
        return {folder: known[folder] for folder in folders}, []
    if names:
        return _by_name(root, folders, names), []
    if known is not None:
        missing = [folder for folder in folders if folder not in known]
        raise StudyError(
            f"Folder {printable(root)} has the class {missing[0]!r}, which the pictures to finetune on lack; they have "
            f"{listed(known)}. The model can only be asked about classes that it was finetuned on."
        )
    if len(folders) > outputs:
        raise StudyError(
            f"Folder {printable(root)} has {len(folders)} class folders, the model's head {outputs} outputs. Give the "
            "pictures that it was trained on."
        )
    if len(folders) < outputs and all(name.isdigit() and int(name) < outputs for name in folders):
        return {name: int(name) for name in folders}, []
    found = {name: place for place, name in enumerate(sorted(folders))}
    if len(folders) == outputs:
        return found, []
    return found, [
        f"The model's head has {outputs} outputs without names, {printable(root)} {len(folders)} class folders: they "
        "were taken for the first in alphabetical order. If others are meant, name the folders by the outputs' numbers."
    ]


def _by_name(root: Path, folders: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """By equal names; else without case and blanks, or by one of the words between commas."""
    exact = {name: number for number, name in reversed(list(enumerate(names)))}
    loose: dict[str, int] = {}
    for number, name in enumerate(names):
        for word in (name, *name.split(",")):
            loose.setdefault(_loose(word), number)
    found = {}
    for folder in folders:
        place: int | None = exact.get(folder, loose.get(_loose(folder)))
        if place is None and folder.isdigit() and int(folder) < len(names):
            place = int(folder)
        if place is None:
            raise StudyError(
                f"Folder {printable(root)} has the class {folder!r}, which the model's head lacks; it has "
                f"{listed(map(printable, names))}. Name the folder as the head does, or by its output's number."
            )
        found[folder] = place
    twice = [folder for folder in folders if list(found.values()).count(found[folder]) > 1]
    if twice:
        raise StudyError(
            f"Folder {printable(root)}: {listed(twice, ' and ')} are the same output of the model's head, "
            f"{names[found[twice[0]]]!r}. Put their pictures into one folder."
        )
    return found


def _loose(name: str) -> str:
    return folded(name.replace("_", " ").replace("-", " "))
