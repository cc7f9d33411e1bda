"""The paper's CIFAR-10 experiment: pretrained on bird against frog, finetuned on the other eight classes."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from influence.errors import StudyError
from influence.studies.cards import CIFAR10
from influence.studies.images.class_folders import class_folders
from influence.studies.images.picture_files import printable, read_picture
from influence.studies.images.study import ImageStudy, Options, Part

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PRETRAIN = ("bird", "frog")
FINETUNE = tuple(name for name in CLASSES if name not in PRETRAIN)
BATCHES = "cifar-10-batches-py"
PIXELS = 3 * 32 * 32
DEFAULT_QUERIES = 100
"""Test pictures by default: through a frozen backbone, each takes a pass over the 10,000 finetuning examples."""
INTEGERS = {"BININT", "BININT1", "BININT2", "INT", "LONG1"}

Found = dict[str, list[tuple[str, Any]]]
"""Class -> (where from, how to read it) of every picture."""


class Cifar10(ImageStudy):
    """`cifar10`: birds and frogs to pretrain on, the other eight classes to finetune on and to explain."""

    card = CIFAR10
    defaults: ClassVar[Mapping[str, Any]] = {"queries": DEFAULT_QUERIES}

    def __init__(self, options: Options, data: Path | None):
        train, test = read_cifar10(data)
        parts = {
            "pretrain": _part(train, PRETRAIN),
            "finetune": _part(train, FINETUNE),
            "queries": _part(test, FINETUNE),
        }
        super().__init__(self.card.name, "CIFAR-10", parts, options)


def read_cifar10(data: Path | None) -> tuple[Found, Found]:
    """Training and test pictures in `data`: torchvision's download, or `train` and `test` folders (also in a zip).

    Raises:
        StudyError: there is nothing of that kind, or it is damaged.
    """
    if data is None or not data.exists():
        where = "--data DIR says where" if data is None else f"{printable(data)} does not exist"
        raise StudyError(
            f"Study 'cifar10' needs CIFAR-10, which is not part of this package ({where}). Fetch it once, 170 MB, with "
            f"python -c \"import torchvision; torchvision.datasets.CIFAR10('DIR', download=True)\" and pass --data DIR."
        )
    if data.is_file():
        found = _from_zip(data)
    elif (data / "train").is_dir() and (data / "test").is_dir():
        found = tuple(_from_folders(data / name) for name in ("train", "test"))
    else:
        folder = data if data.name == BATCHES else data / BATCHES
        names = [[f"data_batch_{i}" for i in range(1, 6)], ["test_batch"]]
        found = tuple(_from_batches(folder, part, data) for part in names)
    for part in found:
        missing = [name for name in CLASSES if not part.get(name)]
        if missing:
            raise StudyError(f"{printable(data)} holds no pictures of the class {missing[0]!r}.")
    return found[0], found[1]


def _part(found: Found, classes: tuple[str, ...]) -> Part:
    chosen = [(where, read, classes.index(name)) for name in classes for where, read in found[name]]
    return Part([read for _, read, _ in chosen], classes, [c for _, _, c in chosen], [where for where, _, _ in chosen])


def _from_folders(folder: Path) -> Found:
    return {
        name: [(f"{folder.name}/{name}/{printable(f.name)}", partial(read_picture, f)) for f in files]
        for name, files in class_folders(folder).items()
    }


def _from_zip(path: Path) -> tuple[Found, ...]:
    """Pictures at .../train/<class>/<file> and .../test/<class>/<file>, read from the archive when asked for."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise StudyError(f"{printable(path)} cannot be read as a zip file: {error}.") from error
    parts: dict[str, Found] = {"train": {}, "test": {}}
    for entry in sorted(archive.namelist()):
        pieces = PurePosixPath(entry).parts
        if len(pieces) >= 3 and pieces[-3] in parts and pieces[-2] in CLASSES and pieces[-1][0] != ".":
            found = parts[pieces[-3]].setdefault(pieces[-2], [])
            found.append(("/".join(pieces[-3:]), partial(_member, archive, entry, path)))
    return tuple(parts.values())


def _member(archive: zipfile.ZipFile, entry: str, path: Path) -> Image.Image:
    try:
        with archive.open(entry) as file:
            return read_picture(path / entry, file)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:  # damaged, or encrypted
        raise StudyError(f"{entry} in {printable(path)} cannot be read: {error}.") from error


def _from_batches(folder: Path, names: list[str], data: Path) -> Found:
    found: Found = {name: [] for name in CLASSES}
    for name in names:
        if not (folder / name).is_file():
            raise StudyError(
                f"{printable(data)} holds no CIFAR-10: expected {BATCHES}/{name} as torchvision downloads it, or "
                "folders train/<class>/ and test/<class>/ of pictures, or a zip file of these."
            )
        pixels, labels = read_batch(folder / name)
        for row, label in enumerate(labels):
            found[CLASSES[label]].append((f"{name}/{row}", partial(_image_of, pixels[row])))
    return found


def _image_of(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels.reshape(3, 32, 32).transpose(1, 2, 0)))


def read_batch(path: Path) -> tuple[np.ndarray, list[int]]:
    """Pixels (n, 3072) and class numbers of one of CIFAR-10's own files.

    They are pickles. They are not unpickled, which could run code: only their list of instructions is read, and the
    one long string (the pixels) and the numbers under the key "labels" taken from it.

    Raises:
        StudyError: the file is not of that form.
    """
    pixels, labels, within = b"", [], False
    try:
        for name, value in _instructions(path):
            if isinstance(value, bytes):
                within = value == b"labels"
                pixels = max(pixels, value, key=len)
            elif within and name in INTEGERS:
                labels.append(int(value))
    except (OSError, ValueError, EOFError) as error:
        raise StudyError(f"{printable(path)} cannot be read: {error}. Fetch CIFAR-10 again.") from error
    if not labels or len(pixels) != PIXELS * len(labels) or not all(0 <= label < len(CLASSES) for label in labels):
        raise StudyError(
            f"{printable(path)} holds {len(labels)} labels and {len(pixels)} bytes of pixels, expected {PIXELS} bytes "
            "for each label, which are 0 to 9. Fetch CIFAR-10 again."
        )
    return np.frombuffer(pixels, dtype=np.uint8).reshape(-1, PIXELS), labels


def _instructions(path: Path) -> Iterator[tuple[str, Any]]:
    """Name and argument of each, texts as bytes."""
    with path.open("rb") as file:
        for opcode, argument, _ in pickletools.genops(file):
            if isinstance(argument, str):
                # Characters stand for bytes; other texts (file names) do not matter.
                argument = argument.encode("latin-1", "replace")
            yield opcode.name, bytes(argument) if isinstance(argument, bytes | bytearray) else argument
