"""A two-stage study of any picture files: pretrained on some classes, finetuned on others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from influence.errors import StudyError, printable
from influence.studies.cards import VARIANTS
from influence.studies.exhibit import Exhibit, fingerprint
from influence.studies.images.networks import BUILT_IN, calibrate, copy_buffers, head_names, image_model, load_weights
from influence.studies.images.picture_files import open_picture
from influence.studies.images.pictures import Pictures, picture
from influence.studies.images.sources.by_class import pictures_at
from influence.studies.images.sources.member import Source, called_below, file_of
from influence.studies.images.survey import Survey, survey
from influence.studies.lookalikes import hint, lookalikes
from influence.studies.question import PICTURE
from influence.study.stage import Stage
from influence.study.study import Study

PROXIMITY = 0.01
"""Proximity (alpha) of an updated backbone to the pretrained one."""
NEARLY_BLACK = 16
"""Of 255: it is told if no picture has a larger value."""


@dataclass(frozen=True)
class Options:
    """How an image study is made.

    Attributes:
        model: "cnn", or a classifier's name in torchvision.
        weights: safetensors file that the pretraining starts from, all but the head.
        size: side of the pictures in pixels.
        l2: of both stages.
        epochs: passes over a stage's examples.
        queries: at most so many test pictures, drawn by the seed; 0 for all.
        seed: of the start, the order of training and the draw.
    """

    model: str = BUILT_IN
    weights: Path | None = None
    size: int = 32
    l2: float = 0.001
    epochs: int = 20
    queries: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Part:
    """The pictures of one stage, or the queries: how to read each, class names, each one's class and where from.

    `files`: what they are read from, where they are pictures of a user, whose format may leave open what is white.
    """

    sources: Sequence[Callable[[], Image.Image]]
    classes: Sequence[str]
    labels: Sequence[int]
    names: Sequence[str]
    files: Sequence[Source] = ()

    def chosen(self, rows: np.ndarray) -> Part:
        """Some of the pictures, of the same classes."""
        return Part(
            [self.sources[i] for i in rows],
            self.classes,
            [self.labels[i] for i in rows],
            [self.names[i] for i in rows],
            [self.files[i] for i in rows] if self.files else (),
        )


class ImageStudy:
    """Exhibits `frozen` (backbone fixed) and `updated` (trained on, held near) over one pretrained model.

    Args:
        name, subject: of the study; what the pictures are, in words.
        parts: `pretrain`, `finetune` and `queries`; the queries' classes are those of finetuning.
        notes: what a careful reader should know of the data.

    Raises:
        StudyError: a stage with fewer than two classes.
    """

    variants = VARIANTS
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Of its options, where they are other than usual."""

    def __init__(self, name: str, subject: str, parts: Mapping[str, Part], options: Options, notes: Sequence[str] = ()):
        self.name, self.subject, self.options, self.notes = name, subject, options, tuple(notes)
        self._files = [file for part in parts.values() for file in part.files]
        rows = np.arange(len(parts["queries"].labels))
        if 0 < options.queries < len(rows):
            rows = np.sort(np.random.default_rng(options.seed).permutation(rows)[: options.queries])
        self.rows = rows
        self.parts = {**parts, "queries": parts["queries"].chosen(rows)}
        for stage in ("pretrain", "finetune"):
            if len(self.parts[stage].classes) < 2:
                raise StudyError(
                    f"Study {name!r}: there is only the class {self.parts[stage].classes[0]!r} to {stage} on; a "
                    "classifier needs at least two."
                )

    def exhibit(self, variant: str) -> Exhibit:
        """The run `frozen` or `updated`."""
        frozen, body = variant == "frozen", self._body
        finetuning = Stage(
            "finetune",
            self._finetuned(),
            image_loss,
            self._data["finetune"],
            l2=self.options.l2,
            frozen=body if frozen else [],
            proximity=0.0 if frozen else PROXIMITY,
            inherits={name: name for name in body},
        )
        tables = self._tables
        return Exhibit(
            study=Study(self.name, [self._pretraining, finetuning], self._data["queries"]),
            title=f"{self.subject}, backbone {variant}",
            summary=self._summary(frozen),
            classes={stage: list(self.parts[stage].classes) for stage in ("pretrain", "finetune")},
            examples={stage: tables[stage] for stage in ("pretrain", "finetune")},
            queries=tables["queries"],
            form=PICTURE,
            encode=partial(picture, size=self.options.size, white=self._survey.white),
            train=True,
            epochs=self.options.epochs,
            seed=self.options.seed,
            variant=variant,
            notes=[*self.notes, *self._survey.notes, *self._dark],
            settings={
                "model": self.options.model,
                "image_size": self.options.size,
                "weights": None if self.options.weights is None else fingerprint(self._pretraining.model),
                **({} if self._survey.white is None else {"white": self._survey.white}),
            },
        )

    def _summary(self, frozen: bool) -> str:
        sizes = {name: f"{len(part.labels):,}" for name, part in self.parts.items()}
        few = {name: ", ".join(map(str, part.classes[:10])) for name, part in self.parts.items()}
        return (
            f"{self.options.model} at {self.options.size} pixels, pretrained on {sizes['pretrain']} pictures "
            f"({few['pretrain']}), then finetuned on {sizes['finetune']} ({few['finetune']}) with its backbone "
            f"{'kept fixed' if frozen else 'trained on, held near the pretrained one'}. The {sizes['queries']} queries "
            "are pictures that it never saw."
        )

    @cached_property
    def _body(self) -> list[str]:
        heads = head_names(self.options.model)
        return [name for name, _ in self._pretraining.model.named_parameters() if name not in heads]

    @cached_property
    def _survey(self) -> Survey:
        return survey(self._files)

    @property
    def _dark(self) -> list[str]:
        """A note where all pictures that were read, of whatever format, are nearly black."""
        brightest = max(data.brightest for data in self._data.values())
        if brightest >= NEARLY_BLACK:
            return []
        return [
            f"All pictures are nearly black: no value is above {brightest} of 255 (masks of class numbers?). The model "
            "sees next to nothing of them; scale them to 0 to 255."
        ]

    @cached_property
    def _data(self) -> dict[str, Pictures]:
        size, white = self.options.size, self._survey.white
        made = {name: Pictures(p.sources, p.labels, size, white=white) for name, p in self.parts.items()}
        for name, part in self.parts.items():
            made[name].files = list(dict.fromkeys(map(file_of, part.files)))
        return made

    @cached_property
    def _tables(self) -> dict[str, pd.DataFrame]:
        """What is shown of every picture; each file is read here once, so that a bad one is found before training."""
        tables = {}
        for name, part in self.parts.items():
            tables[name] = pd.DataFrame(
                {
                    "id": self.rows if name == "queries" else np.arange(len(part.labels)),
                    "label": [part.classes[label] for label in part.labels],
                    "image": [self._data[name].thumbnail(i) for i in range(len(part.labels))],
                    "source": list(part.names),
                }
            )
        return tables

    @cached_property
    def _pretraining(self) -> Stage:
        self._tables  # noqa: B018 - reads every file before any statistics are taken from them
        model = image_model(self.options.model, len(self.parts["pretrain"].classes), self.options.seed)
        if self.options.weights is None:
            calibrate(model, self._data["pretrain"])
        else:
            load_weights(model, self.options.weights, head_names(self.options.model))
        return Stage("pretrain", model.eval(), image_loss, self._data["pretrain"], l2=self.options.l2)

    def _finetuned(self) -> nn.Module:
        model = image_model(self.options.model, len(self.parts["finetune"].classes), self.options.seed)
        copy_buffers(model, self._pretraining.model)
        return model.eval()


def from_folders(name: str, folders: Sequence[Path], options: Options) -> ImageStudy:
    """The study of three folders of class folders: to pretrain on, to finetune on, and test pictures of the latter.

    In place of a folder: tar files, as `pictures_at` takes them.

    Raises:
        StudyError: a folder or tar file is not as expected, or the test pictures have a class that finetuning lacks.
    """
    found = [pictures_at(folder) for folder in folders]
    pretrain, finetune, test = (each.classes for each in found)
    unknown = [each for each in test if each not in finetune]
    if unknown:
        raise StudyError(
            f"Folder {printable(folders[2])} has the class {unknown[0]!r}, which {printable(folders[1])} lacks; it has "
            f"{', '.join(list(finetune)[:10])}. The model can only be asked about classes that it was finetuned on."
            + hint(unknown[0], finetune)
        )
    parts = {
        "pretrain": _part(folders[0], pretrain, list(pretrain)),
        "finetune": _part(folders[1], finetune, list(finetune)),
        "queries": _part(folders[2], test, list(finetune)),
    }
    notes = list(dict.fromkeys(note for each in found for note in each.notes))
    notes += lookalikes({"to pretrain on": pretrain, "to finetune on": finetune})
    return ImageStudy(name, "Pictures", parts, options, notes)


def _part(root: Path, found: dict[str, list[Source]], classes: list[str]) -> Part:
    files = [(path, classes.index(name)) for name, paths in found.items() for path in paths]
    return Part(
        [partial(open_picture, path) for path, _ in files],
        classes,
        [label for _, label in files],
        [called_below(path, root) for path, _ in files],
        [path for path, _ in files],
    )


def image_loss(outputs: Tensor, batch: list[Tensor]) -> Tensor:
    """Cross-entropy of each example, (B,), in nats."""
    return cross_entropy(outputs, batch[1], reduction="none")
