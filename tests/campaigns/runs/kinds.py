"""Every kind of study that there is, of so little data that a run of it takes a second."""

from __future__ import annotations

import contextlib
import gzip
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from PIL import Image

from influence.studies.images import cifar10, fashion
from influence.studies.texts import definitions

SMALL = ["--image-size", "8", "--epochs", "1"]
TOPICS = ["noun.act", "verb.motion", *definitions.TOPICS]
WORDS = ("river", "delta", "meadow", "harbour", "lantern", "granite", "orchard", "compass", "timber", "anchor")


@dataclass(frozen=True)
class Kind:
    """One kind of study.

    Attributes:
        name: of it.
        arguments: writes its data into a folder, and says what `upstream precompute` is given.
        given: of a function in a file, its name; it is given again wherever the study is made again.
    """

    name: str
    arguments: Callable[[Path], list[str]]
    given: str = ""

    def __str__(self) -> str:
        return self.name


@contextlib.contextmanager
def small_data(folder: Path) -> Iterator[None]:
    """Few of the embedded digits and definitions, and two coordinates in place of UMAP, for a `with` block."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (80, 28, 28)).astype("uint8")
    np.savez(folder / "mnist_5k.npz", X=pixels, y=np.arange(80) % 10)
    labels = [topic for topic in TOPICS for _ in range(5)]
    texts = [sentence(rng, number) for number in range(len(labels))]
    table = pd.DataFrame({"id": np.arange(len(labels)), "label": labels, "word": "a", "text": texts})
    table.to_parquet(folder / "definitions.parquet")
    fewer = definitions.TextOptions(vocabulary=30, width=4, layers=1, epochs=1, context=8)
    with (
        patch("influence.studies.images.digits.shipped_file", lambda name: folder / Path(name).name),
        patch("influence.studies.images.digits.FINETUNE_EXAMPLES", 30),
        patch("influence.studies.texts.definitions.shipped_file", lambda name: folder / Path(name).name),
        patch("influence.studies.texts.definitions.FINETUNE_PER_TOPIC", 2),
        patch("influence.studies.texts.definitions.QUERIES_PER_TOPIC", 1),
        patch("influence.studies.texts.definitions.options", lambda *_: fewer),
        patch("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates")),
    ):
        yield


def sentence(rng: np.random.Generator, number: int) -> str:
    return f"the {WORDS[number % 10]} of " + " ".join(rng.choice(WORDS, 4))


def picture(rng: np.random.Generator, size: int = 8) -> Image.Image:
    return Image.fromarray(rng.integers(0, 255, (size, size, 3)).astype("uint8"))


def class_folders(folder: Path, classes: tuple[str, ...], count: int, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            picture(rng).save(folder / name / f"{number}.png")
    return folder


def cifar10_folders(folder: Path) -> Path:
    for seed, (part, count) in enumerate((("train", 2), ("test", 1))):
        class_folders(folder / "cifar" / part, cifar10.CLASSES, count, seed)
    return folder / "cifar"


def cifar10_zip(folder: Path) -> Path:
    """The same folders in one file, as JPEG or PNG pictures."""
    with zipfile.ZipFile(folder / "cifar.zip", "w") as file:
        for path in sorted(cifar10_folders(folder).rglob("*.png")):
            file.write(path, path.relative_to(folder / "cifar").as_posix())
    return folder / "cifar.zip"


def cifar10_batches(folder: Path) -> Path:
    """As torchvision downloads them."""
    rng = np.random.default_rng(0)
    (folder / cifar10.BATCHES).mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        batch = {b"labels": list(range(10)), b"data": rng.integers(0, 255, (10, cifar10.PIXELS)).astype("uint8")}
        (folder / cifar10.BATCHES / name).write_bytes(pickle.dumps(batch, protocol=4))
    return folder


def fashion_files(folder: Path) -> Path:
    """In their own format, compressed as they are distributed."""
    rng = np.random.default_rng(0)
    for (images, labels), count in zip(fashion.FILES.values(), (30, 20), strict=True):
        numbers, pixels = np.arange(count) % 10, rng.integers(0, 255, (count, 28, 28))
        for name, values in ((images, pixels), (labels, numbers)):
            head = b"\0\0\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
            (folder / f"{name}.gz").write_bytes(gzip.compress(head + values.astype("uint8").tobytes()))
    return folder


def own_pictures(folder: Path) -> list[str]:
    parts = [("pre", ("ant", "bee"), 4), ("fine", ("cat", "dog"), 3), ("test", ("cat", "dog"), 2)]
    return [str(class_folders(folder / name, classes, n, seed)) for seed, (name, classes, n) in enumerate(parts)]


def own_texts(folder: Path) -> list[str]:
    rng, files = np.random.default_rng(0), []
    for name, count in (("pre.txt", 30), ("fine.csv", 12), ("test.jsonl", 6)):
        labels = [("land", "sea")[number % 2] for number in range(count)]
        texts = [f"{sentence(rng, number)} {label}" for number, label in enumerate(labels)]
        table = pd.DataFrame({"text": texts, "label": labels})
        files.append(str(folder / name))
        if name.endswith("txt"):
            Path(files[-1]).write_text("\n".join(texts), encoding="utf-8")
        elif name.endswith("csv"):
            table.to_csv(files[-1], index=False)
        else:
            table.to_json(files[-1], orient="records", lines=True)
    return files


OWN = """
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import TensorDataset
from influence import Exhibit, Stage, Study
from influence.studies.language import LanguageModel, language_loss
from influence.studies.texts.tokenizing import TokenData, padded


def loss(outputs, batch):
    return cross_entropy(outputs, batch[1], reduction="none")


def squares(outputs, batch):
    return mse_loss(outputs[:, 0], batch[1], reduction="none")


class Net(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 3), nn.Tanh())
        self.head = nn.Linear(3, outputs)
        self.double()

    def forward(self, x):
        return self.head(self.body(x))


def data(count, classes, *shape):
    return TensorDataset(torch.rand(count, *shape, dtype=torch.float64), torch.arange(count) % classes)


def stages(counts, shape, inputs):
    torch.manual_seed(0)
    names = ["pretrain", "adapt", "finetune"] if len(counts) == 3 else ["pretrain", "finetune"][-len(counts):]
    return [
        Stage(name, Net(inputs, classes), loss, data(count, classes, *shape), l2=0.1, proximity=0.1 if number else 0.0)
        for number, (name, (count, classes)) in enumerate(zip(names, counts, strict=True))
    ]


def table():
    return Exhibit(Study("table", stages([(20, 2), (12, 3)], (4,), 4), data(6, 3, 4)), train=True)


def pictures():
    return Exhibit(Study("pictures", stages([(20, 2), (12, 3)], (3, 6, 6), 108), data(6, 3, 3, 6, 6)), train=True)


def one_stage():
    return Exhibit(Study("one", stages([(12, 3)], (4,), 4), data(6, 3, 4)), train=True)


def three_stages():
    return Exhibit(Study("three", stages([(20, 2), (16, 4), (12, 3)], (4,), 4), data(6, 3, 4)), train=True)


def rows(count):
    return pd.DataFrame({"id": range(count), "label": ["a", "b"] * (count // 2), "text": ["to be"] * count})


def regression():
    torch.manual_seed(0)
    numbers = [TensorDataset(torch.rand(n, 4).double(), torch.rand(n).double()) for n in (20, 12, 6)]
    first = Stage("pretrain", Net(4, 1), squares, numbers[0], l2=0.1)
    last = Stage("finetune", Net(4, 1), squares, numbers[1], l2=0.1, proximity=0.1)
    none, shown = {"pretrain": [], "finetune": []}, {"pretrain": rows(20), "finetune": rows(12)}
    study = Study("regression", [first, last], numbers[2])
    return Exhibit(study, classes=none, examples=shown, queries=rows(6), train=True)


def language():
    torch.manual_seed(0)
    texts = [TokenData(list(torch.randint(2, 9, (n, 6))), [0] * n) for n in (20, 12, 6)]
    first, last = (LanguageModel(9, 8, 4, 1).double() for _ in range(2))
    first = Stage("pretrain", first, language_loss, texts[0], collate=padded, l2=0.1)
    last = Stage("finetune", last, language_loss, texts[1], collate=padded, l2=0.1, proximity=0.1)
    none, shown = {"pretrain": [], "finetune": []}, {"pretrain": rows(20), "finetune": rows(12)}
    study = Study("language", [first, last], texts[2])
    return Exhibit(study, classes=none, examples=shown, queries=rows(6), train=True)
"""


def own_function(name: str) -> Kind:
    """A function in a Python file."""

    def arguments(folder: Path) -> list[str]:
        (folder / "mine.py").write_text(OWN, encoding="utf-8")
        return [f"{folder / 'mine.py'}:{name}"]

    return Kind(f"a function: {name}", arguments, name)


def weights_of(folder: Path) -> str:
    """A file of parameters to start from."""
    import safetensors.torch

    from influence.studies.images.networks import image_model

    safetensors.torch.save_file(image_model("cnn", 2, 1).state_dict(), folder / "start.safetensors")
    return str(folder / "start.safetensors")


KINDS = [
    Kind("digits", lambda folder: ["digits", "--finetuning", "frozen"]),
    Kind("definitions", lambda folder: ["definitions"]),
    Kind("cifar10, folders", lambda folder: ["cifar10", "--data", str(cifar10_folders(folder)), *SMALL]),
    Kind("cifar10, a zip", lambda folder: ["cifar10", "--data", str(cifar10_zip(folder)), *SMALL]),
    Kind("cifar10, batches", lambda folder: ["cifar10", "--data", str(cifar10_batches(folder)), *SMALL]),
    Kind("fashion", lambda folder: ["fashion", "--data", str(fashion_files(folder)), *SMALL]),
    Kind("own pictures", lambda folder: ["--images", *own_pictures(folder), *SMALL]),
    Kind("own pictures from weights", lambda f: ["--images", *own_pictures(f), "--weights", weights_of(f), *SMALL]),
    Kind("own texts", lambda f: ["--texts", *own_texts(f), "--vocabulary", "20", "--context", "8", "--epochs", "1"]),
    *map(own_function, ("table", "pictures", "one_stage", "three_stages", "regression", "language")),
]
