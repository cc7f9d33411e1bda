"""The paper's MNIST experiment: a CNN pretrained on the digits 0 to 3, finetuned on 4 to 9."""

from __future__ import annotations

import io
from functools import cached_property
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence.studies.cards import DIGITS, VARIANTS
from influence.studies.exhibit import Exhibit
from influence.studies.images.digit_drawing import digit
from influence.studies.question import DRAWING
from influence.studies.shipped import shipped_file
from influence.study.stage import Stage
from influence.study.study import Study

PRETRAIN, FINETUNE = range(4), range(4, 10)
FINETUNE_EXAMPLES = 400
L2 = 0.01
PROXIMITY = 0.05


class DigitsNet(nn.Module):
    """A small convolution (the embedding W) and a linear head (U or Theta), smooth throughout, in float64.

    Chosen so that scores can be believed: with softplus and this l2 term the pretraining ends at the same minimum from
    every random start that was tried, and strong examples are predicted too (docs/trust.md, "The demo's own run").
    """

    def __init__(self, classes: int):
        super().__init__()
        self.features = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(1, 4, 5, stride=2), nn.Softplus(), nn.Flatten())
        self.head = nn.Linear(100, classes)
        self.double()  # a gradient norm near zero, which the theory asks for, needs more digits than float32 has

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class Digits:
    """`digits`: 2,000 real digits 0 to 3 to pretrain on, 400 digits 4 to 9 to finetune on, 2,600 to explain."""

    card = DIGITS
    variants: ClassVar[tuple[str, ...]] = VARIANTS
    l2: ClassVar[float] = L2

    def __init__(self, seed: int = 0):
        self.seed = seed

    @cached_property
    def pretraining(self) -> Stage:
        """The stage that both finetuned models share, at its random start."""
        return Stage("pretrain", self._net(4), digit_loss, self._data(self._rows["pretrain"], PRETRAIN), l2=self.l2)

    def exhibit(self, variant: str) -> Exhibit:
        """The study `frozen` (embedding fixed) or `updated` (embedding trained, held near the pretrained one)."""
        finetuning = Stage(
            "finetune",
            self._net(6),
            digit_loss,
            self._data(self._rows["finetune"], FINETUNE),
            l2=self.l2,
            frozen=["features.*"] if variant == "frozen" else [],
            proximity=0.0 if variant == "frozen" else PROXIMITY,
            inherits={
                name: name for name, _ in self.pretraining.model.named_parameters() if name.startswith("features.")
            },
        )
        queries = self._data(self._rows["queries"], FINETUNE)
        how = "kept fixed" if variant == "frozen" else "trained on, held near the pretrained one"
        return Exhibit(
            study=Study(self.card.name, [self.pretraining, finetuning], queries),
            title=f"Digits, embedding {'frozen' if variant == 'frozen' else 'updated'}",
            summary=(
                f"A small convolutional network pretrained on {len(self._rows['pretrain'])} "
                "handwritten digits 0 to 3, then "
                f"finetuned on {len(self._rows['finetune'])} digits 4 to 9 with its embedding {how}. The queries are "
                f"{len(self._rows['queries'])} digits 4 to 9 that it never saw."
            ),
            measure="loss of the true class",
            classes={"pretrain": [str(c) for c in PRETRAIN], "finetune": [str(c) for c in FINETUNE]},
            examples={stage: self._table(self._rows[stage]) for stage in ("pretrain", "finetune")},
            queries=self._table(self._rows["queries"]),
            form=DRAWING,
            encode=digit,
            embedding=lambda model, batch: model.get_submodule("features")(batch[0]),
            train=True,
            seed=self.seed,
            variant=variant,
            method="exact",
            curvature="hessian",
        )

    @cached_property
    def _digits(self) -> tuple[np.ndarray, np.ndarray]:
        with np.load(shipped_file("digits/mnist_5k.npz"), allow_pickle=False) as file:
            return file["X"], file["y"].astype(np.int64)

    @cached_property
    def _rows(self) -> dict[str, np.ndarray]:
        """Which of the 5,000 digits go where; the seed draws the finetuning examples."""
        _, labels = self._digits
        target = np.random.default_rng(self.seed).permutation(np.flatnonzero(np.isin(labels, FINETUNE)))
        return {
            "pretrain": np.flatnonzero(np.isin(labels, PRETRAIN)),
            "finetune": np.sort(target[:FINETUNE_EXAMPLES]),
            "queries": np.sort(target[FINETUNE_EXAMPLES:]),
        }

    def _net(self, classes: int) -> DigitsNet:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return DigitsNet(classes)

    def _data(self, rows: np.ndarray, classes: range) -> TensorDataset:
        images, labels = self._digits
        return TensorDataset(
            torch.from_numpy(images[rows]).double()[:, None] / 255, torch.from_numpy(labels[rows] - classes.start)
        )

    def _table(self, rows: np.ndarray) -> pd.DataFrame:
        images, labels = self._digits
        return pd.DataFrame(
            {"id": rows, "label": [str(c) for c in labels[rows]], "image": [_png(images[row]) for row in rows]}
        )


def digit_loss(outputs: Tensor, batch: list[Tensor]) -> Tensor:
    """Cross-entropy of each example, (B,), in nats."""
    return cross_entropy(outputs, batch[1], reduction="none")


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(255 - np.clip(image, 0, 255).astype(np.uint8)).save(buffer, "PNG")  # ink on paper
    return buffer.getvalue()
