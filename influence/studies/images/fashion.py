"""Fashion-MNIST in two stages, for scale: pretrained on tops, finetuned on everything else."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from influence.errors import StudyError, printable
from influence.studies.cards import FASHION
from influence.studies.images.study import ImageStudy, Options, Part

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
PRETRAIN = ("T-shirt", "pullover", "dress", "coat", "shirt")
FINETUNE = tuple(name for name in CLASSES if name not in PRETRAIN)
DEFAULT_QUERIES = 50
"""Test pictures by default: through a frozen backbone, each takes a pass over the 30,000 finetuning examples."""
FILES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
         "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}  # fmt: skip


class Fashion(ImageStudy):
    """`fashion`: 30,000 tops to pretrain on, 30,000 other pieces to finetune on."""

    card = FASHION
    defaults: ClassVar[Mapping[str, Any]] = {"queries": DEFAULT_QUERIES, "epochs": 5}

    def __init__(self, options: Options, data: Path | None):
        train, test = read_fashion(data)
        parts = {
            "pretrain": _part("train", *train, PRETRAIN),
            "finetune": _part("train", *train, FINETUNE),
            "queries": _part("test", *test, FINETUNE),
        }
        super().__init__(self.card.name, "Fashion-MNIST", parts, options)


def read_fashion(data: Path | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """(pictures (n, h, w), labels (n,)) to train on and to test with, from idx files in or below `data`.

    Raises:
        StudyError: they are not there, or damaged.
    """
    if data is None or not data.is_dir():
        where = "--data DIR says where" if data is None else f"{printable(data)} is no folder"
        raise StudyError(
            f"Study 'fashion' needs Fashion-MNIST, which is not part of this package ({where}). Fetch it once, 30 MB, "
            "with python -c \"import torchvision; torchvision.datasets.FashionMNIST('DIR', download=True)\" and pass "
            "--data DIR (on Debian: the package dataset-fashion-mnist)."
        )
    found = []
    for names in FILES.values():
        images, labels = (read_idx(_find(data, name)) for name in names)
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or labels.max(initial=0) >= len(CLASSES):
            raise StudyError(
                f"{printable(data)}: {names[0]} has shape {images.shape} and {names[1]} {labels.shape}, expected "
                "(n, height, width) and n labels from 0 to 9."
            )
        found.append((images, labels))
    return found


def read_idx(path: Path) -> np.ndarray:
    """The bytes in an idx file, plain or gzip, in their shape.

    Raises:
        StudyError: it is no idx file of bytes, or is cut off.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise StudyError(f"{printable(path)} cannot be read: {error}. Fetch it again.") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise StudyError(f"{printable(path)} is no idx file of bytes. Fetch it again.")
    shape = struct.unpack(f">{content[3]}I", content[4 : 4 + 4 * content[3]])
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * content[3])
    if values.size != np.prod(shape, dtype=np.int64):
        raise StudyError(f"{printable(path)} holds {values.size} bytes, its shape is {shape}. Fetch it again.")
    return values.reshape(shape)


def _find(data: Path, name: str) -> Path:
    for folder in (data, data / "FashionMNIST" / "raw", data / "raw"):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise StudyError(f"{printable(data)} holds no {name} (or {name}.gz), also not in FashionMNIST/raw.")


def _part(kind: str, images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> Part:
    numbers = {CLASSES.index(name): i for i, name in enumerate(classes)}
    rows = np.flatnonzero(np.isin(labels, list(numbers)))
    return Part(
        [partial(Image.fromarray, images[row]) for row in rows],
        classes,
        [numbers[int(labels[row])] for row in rows],
        [f"{kind}/{row}" for row in rows],
    )
