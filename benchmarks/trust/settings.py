"""The studies, small enough to be trained again hundreds of times, and smooth enough for that to tell something.

Every network has one convolution with GELU, which is not odd: with tanh, channels that stay near its linear part can
be mixed at next to no cost, and then the smallest curvature at the minimum is a small part of the l2 term. Pictures are
averaged over 4 x 4 pixels beforehand.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy
from torch.utils.data import TensorDataset

from influence import Stage, Study
from influence.studies.images.cifar10 import FINETUNE, PRETRAIN, read_cifar10
from influence.studies.shipped import shipped_file
from influence.studies.texts import Corpus, TextOptions, TextStudy
from influence.studies.texts.definitions import corpora
from influence.training import Recipe
from influence.training.retraining import ParameterValues, shuffled_start

DIGITS = {"pretrain": tuple(range(4)), "finetune": tuple(range(4, 10))}
CHANNELS = 8
FEW_CHANNELS = 2
"""Where single pictures of CIFAR-10 are left out: with more, the smallest curvature at the minimum is a few per cent of
the l2 term, or less, and leaving out one picture may move the model to another minimum."""
RATE, MOMENTUM = 0.2, 0.95
MEAN, SPREAD = 0.13, 0.31
"""Of a digit's pixels, which are 0 to 1."""


@dataclasses.dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        pretrain, finetune, queries: examples.
        steps, batch: of both stages' training.
        l2: of both stages.
        proximity: of an embedding that is updated.
    """

    pretrain: int = 1000
    finetune: int = 600
    queries: int = 600
    steps: int = 1000
    batch: int = 250
    l2: float = 0.03
    proximity: float = 0.1


@dataclasses.dataclass
class Setting:
    """A study at its random start, how it is trained (without recipes: to its one minimum), and each query's class."""

    study: Study
    recipes: Mapping[str, Recipe]
    truth: np.ndarray

    @property
    def starts(self) -> dict[str, ParameterValues]:
        return {s.name: {n: p.detach().clone() for n, p in s.model.named_parameters()} for s in self.study.stages}

    def other(self, seed: int) -> Setting:
        """The same from another random start and in another order of examples."""
        stages = []
        for stage in self.study.stages:
            model = copy.deepcopy(stage.model)
            values = shuffled_start({n: p.detach() for n, p in stage.model.named_parameters()}, seed)
            model.load_state_dict(values, strict=False)  # buffers stay
            stages.append(dataclasses.replace(stage, model=model))
        recipes = {name: dataclasses.replace(recipe, seed=seed) for name, recipe in self.recipes.items()}
        return Setting(Study(self.study.name, stages, self.study.queries), recipes, self.truth)


class Net(nn.Module):
    """A convolution (the embedding W) and a linear head (U or Theta), in float64."""

    def __init__(self, colours: int, channels: int, side: int, classes: int):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(colours, channels, 3, stride=2), nn.GELU(), nn.Flatten())
        self.head = nn.Linear(channels * side * side, classes)
        self.double()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def picture_loss(outputs: Tensor, batch: Sequence[Tensor]) -> Tensor:
    return cross_entropy(outputs, batch[1], reduction="none")


def digits(variant: str, size: Size, seed: int) -> Setting:
    """MNIST, 0 to 3 and then 4 to 9; `variant` says what becomes of the embedding: "frozen" or "updated"."""
    with np.load(shipped_file("digits/mnist_5k.npz"), allow_pickle=False) as file:
        images, labels = torch.from_numpy(file["X"])[:, None], file["y"].astype(np.int64)
    rows = _parts(labels, DIGITS["pretrain"], DIGITS["finetune"], size, seed)
    data = {part: _pictures(images[r], labels[r] - (0 if part == "pretrain" else 4)) for part, r in rows.items()}
    return _setting(f"digits-{variant}", data, (4, 6), (1, 6, 3), variant, size, seed)


def cifar(
    variant: str,
    size: Size,
    seed: int,
    data: Path,
    classes: Sequence[str] = FINETUNE,
    channels: int = CHANNELS,
) -> Setting:
    """CIFAR-10, bird and frog and then other `classes`, which may be those two again: then other pictures of them."""
    train, test = cifar_pictures(data)
    rng, parts = np.random.default_rng(seed), {}
    used = {name: rng.permutation(len(train[name])) for name in train}
    each = size.pretrain // len(PRETRAIN)
    parts["pretrain"] = [(train[name][used[name][:each]], i) for i, name in enumerate(PRETRAIN)]
    number = size.finetune // len(classes)
    skip = {name: each if name in PRETRAIN else 0 for name in classes}
    parts["finetune"] = [
        (train[name][used[name][skip[name] : skip[name] + number]], i) for i, name in enumerate(classes)
    ]
    number = size.queries // len(classes)
    parts["queries"] = [(test[name][rng.permutation(len(test[name]))[:number]], i) for i, name in enumerate(classes)]
    made = {
        part: _pictures(torch.cat([x for x, _ in several]), np.concatenate([np.full(len(x), i) for x, i in several]))
        for part, several in parts.items()
    }
    return _setting(f"cifar-{variant}", made, (2, len(classes)), (3, channels, 3), variant, size, seed)


def texts(variant: str, size: Size, seed: int) -> Setting:
    """Dictionary definitions: the text studies' model of word pairs, small, and a classifier of eight topics on it.

    In float64, and trained to the minimum: `size` says how many texts, its steps and l2 terms are not read.
    """
    rng = np.random.default_rng(seed)
    sizes = {"pretrain": size.pretrain, "finetune": size.finetune, "queries": size.queries}
    parts: dict[str, Corpus] = {
        part: corpus.chosen(np.sort(rng.permutation(len(corpus))[: sizes[part]]).tolist())
        for part, corpus in corpora(seed).items()
    }
    study = TextStudy("texts", "Definitions", parts, TextOptions(vocabulary=300, context=24, width=30, seed=seed))
    made = study.exhibit(variant).study
    for stage in made.stages:
        stage.model.double()
    truth = np.array([int(made.queries[i][1]) for i in range(len(made.queries))])
    return Setting(made, {}, truth)


def _setting(
    name: str,
    data: Mapping[str, TensorDataset],
    classes: tuple[int, int],
    shape: tuple[int, int, int],
    variant: str,
    size: Size,
    seed: int,
) -> Setting:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        models = [Net(*shape, count) for count in classes]
    frozen = variant == "frozen"
    stages = [
        Stage("pretrain", models[0], picture_loss, data["pretrain"], l2=size.l2),
        Stage(
            "finetune",
            models[1],
            picture_loss,
            data["finetune"],
            l2=size.l2,
            frozen=["features.*"] if frozen else [],
            proximity=0.0 if frozen else size.proximity,
            inherits={n: n for n, _ in models[0].named_parameters() if n.startswith("features.")},
        ),
    ]
    recipes = {stage.name: recipe(size, len(stage.data), seed) for stage in stages}
    return Setting(Study(name, stages, data["queries"]), recipes, data["queries"].tensors[1].numpy())


def recipe(size: Size, count: int, seed: int) -> Recipe:
    """Small steps in a fixed order, ever smaller, so that training ends next to a minimum."""
    batch = min(size.batch, count)
    return Recipe(size.steps, batch, RATE, momentum=MOMENTUM, warmup=size.steps // 10, decay=True, seed=seed)


def _parts(
    labels: np.ndarray,
    old: Sequence[int],
    new: Sequence[int],
    size: Size,
    seed: int,
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    first = rng.permutation(np.flatnonzero(np.isin(labels, old)))[: size.pretrain]
    rest = rng.permutation(np.flatnonzero(np.isin(labels, new)))[: size.finetune + size.queries]
    return {"pretrain": first, "finetune": rest[: size.finetune], "queries": rest[size.finetune :]}


def _pictures(images: Tensor, labels: np.ndarray) -> TensorDataset:
    """Of pictures (n, colours, side, side), 0 to 255."""
    small = avg_pool2d(images.double() / 255, 4)
    if images.shape[1] == 1:
        small = (small - MEAN) / SPREAD
    else:  # each photograph at the same brightness and contrast, which else are most of the curvature
        every = (1, 2, 3)
        small = (small - small.mean(every, keepdim=True)) / small.std(every, keepdim=True).clamp(min=0.02)
    return TensorDataset(small, torch.from_numpy(labels))


@cache
def cifar_pictures(data: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Class -> pictures (n, 3, 32, 32), uint8, to train on and to test with.

    Raises:
        StudyError: there are none at `data`.
    """
    train, test = (
        {name: torch.stack([_pixels(read()) for _, read in several]) for name, several in found.items()}
        for found in read_cifar10(data)
    )
    return train, test


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
