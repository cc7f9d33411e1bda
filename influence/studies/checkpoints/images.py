"""The study of two image classifiers as their training left them, and three folders of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from influence.errors import StudyError, printable
from influence.studies.checkpoints.checkpoint import Checkpoint, read_checkpoint
from influence.studies.checkpoints.correspondence import Correspondence, correspondence
from influence.studies.checkpoints.options import STAGES, CheckpointOptions
from influence.studies.checkpoints.pictures.classes import by_number, head_classes, numbered
from influence.studies.checkpoints.pictures.data import PreparedPictures, encoder
from influence.studies.checkpoints.reading.preparation import Preparation
from influence.studies.checkpoints.statement import Statement
from influence.studies.exhibit import Exhibit
from influence.studies.images.sources.by_class import pictures_at
from influence.studies.images.sources.member import called_below
from influence.studies.images.survey import Survey, survey
from influence.studies.lookalikes import lookalikes
from influence.studies.question import PICTURE
from influence.study.stage import Stage
from influence.study.study import Study

LOOKED_AT = 256
"""Pictures of a stage, evenly spaced, that say whether the model knows the classes that they are said to be of."""
BY_CHANCE = 1.2
"""Times the share that guessing gets right: a model that is not better does not know the classes as they are given."""


class CheckpointImages:
    """A study with one exhibit, whose models stand where their checkpoints left them.

    Args:
        models: the pretrained checkpoint and the finetuned one, or its adapter.
        folders: of class folders, or tar files: to pretrain on, to finetune on, and of test pictures.
        options: what a person states.
        terms: of the stages' objectives, as an earlier exhibit had them; None: stated or estimated.

    Attributes:
        checkpoints: both models, read.
        correspondence: of their parameters.
        lines: to be shown before anything long begins: the models, and where their parameters come from.
        variants: one: "frozen" if nothing that was inherited is trained, else "updated".

    Raises:
        StudyError: a checkpoint or folder is not as expected, or they do not belong together.
    """

    def __init__(
        self,
        models: tuple[Path, Path],
        folders: tuple[Path, Path, Path],
        options: CheckpointOptions,
        terms: Mapping[str, Any] | None = None,
    ):
        self.options, self.folders, self.terms = options, folders, terms
        at = [pictures_at(folder) for folder in folders]
        found = [each.classes for each in at]
        first = read_checkpoint(models[0], arch=options.arch, task="images")
        arch = "" if first.config is not None else options.arch
        second = read_checkpoint(models[1], arch=arch, base=first, task="images")
        self.checkpoints = (first, second)
        for each in self.checkpoints:
            _refuse_other_tasks(each)
        self.correspondence: Correspondence = correspondence(
            first.model, second.model, frozen=options.frozen, inherits=options.pairs, new=options.new
        )
        self.lines = [
            f"{printable(first.path)} ({first.architecture}), then {printable(second.path)} ({second.architecture})",
            *self.correspondence.lines(),
        ]
        trained = {*self.correspondence.inherits} - {*self.correspondence.frozen}
        self.variants = ("updated",) if trained else ("frozen",)
        self._files = [[(name, path) for name, paths in each.items() for path in paths] for each in found]
        draw = np.random.default_rng(options.seed)
        most = (options.sample, options.sample, options.queries or options.sample)
        drawn = [_drawn(len(files), count, draw) for files, count in zip(self._files, most, strict=True)]
        self._files = [[files[row] for row in rows] for files, rows in zip(self._files, drawn, strict=True)]
        self._rows = drawn
        self._notes = list(dict.fromkeys(note for each in at for note in each.notes))
        self._by_number = [each.numbered for each in at]
        self._notes += lookalikes({"to pretrain on": found[0], "to finetune on": found[1]})

    def exhibit(self, variant: str = "") -> Exhibit:
        """The run; `variant` is that of `variants`."""
        classes = self._classes  # refuses labels before any picture is read
        tables, stated = self._tables, self._statement
        stages, data = stated.stages, self._data
        first, second = self.checkpoints
        sizes = [f"{len(each):,}" for each in data]
        return Exhibit(
            study=Study("images", stages, data[2]),
            title=f"Pictures: {first.architecture}, finetuned ({self.variants[0]})",
            summary=(
                f"{printable(first.path.name)} ({first.architecture}), trained on {sizes[0]} pictures, then finetuned "
                f"to {printable(second.path.name)} on {sizes[1]}. The {sizes[2]} queries are pictures of "
                f"{printable(self.folders[2].name)}."
            ),
            classes=dict(zip(STAGES, classes, strict=True)),
            examples=dict(zip(STAGES, tables, strict=False)),
            queries=tables[2],
            form=PICTURE,
            encode=encoder(self._preparation, self._survey.white),
            train=False,
            seed=self.options.seed,
            variant=self.variants[0],
            damping=stated.damping,
            notes=[
                *first.notes,
                *second.notes,
                *self.correspondence.notes,
                *self._notes,
                *self._numbers[1],
                *self._survey.notes,
                *stated.notes,
                *self._knowledge,
            ],
            settings={
                "model": self.options.arch or second.architecture,
                "image_size": self.options.size,
                **({} if self._survey.white is None else {"white": self._survey.white}),
            },
        )

    @cached_property
    def _preparation(self) -> Preparation:
        """The finetuned model's; where its folder has none, the pretrained one's."""
        first, second = self.checkpoints
        try:
            return second.processor(self.options.size)
        except StudyError:
            if second.config is None or second.base is not None:
                raise
            return first.processor(self.options.size)

    @cached_property
    def _survey(self) -> Survey:
        return survey([path for part in self._files for _, path in part])

    @cached_property
    def _outputs(self) -> list[int]:
        """How many outputs each model has, as it says to a picture of the size that it is given."""
        return [_outputs_of(each, self._preparation) for each in self.checkpoints]

    @cached_property
    def _numbers(self) -> tuple[list[dict[str, int]], list[str]]:
        """Folder -> output of the head, of each part; and notes."""
        found: list[dict[str, int]] = []
        notes: list[str] = []
        for part, checkpoint in enumerate((*self.checkpoints, self.checkpoints[1])):
            outputs = self._outputs[min(part, 1)]
            names = head_classes(checkpoint, outputs)
            folders = list(dict.fromkeys(name for name, _ in self._files[part]))
            known = found[1] if part == 2 else None
            if self._by_number[part]:
                found.append(by_number(self.folders[part], folders, outputs))
                continue
            numbers, told = numbered(self.folders[part], folders, names, outputs, known)
            found.append(numbers)
            notes += told
        return found, notes

    @cached_property
    def _classes(self) -> list[list[str]]:
        """Names of each head's outputs: the folders', elsewhere the checkpoint's, or their numbers."""
        named = []
        for part, checkpoint in enumerate(self.checkpoints):
            outputs = self._outputs[part]
            names = head_classes(checkpoint, outputs) or [str(i) for i in range(outputs)]
            for each in (2, part) if part else (part,):
                for folder, place in () if self._by_number[each] else self._numbers[0][each].items():
                    names[place] = folder
            named.append(names)
        return named

    @cached_property
    def _data(self) -> list[PreparedPictures]:
        return [
            PreparedPictures(
                [path for _, path in files], [numbers[name] for name, _ in files], self._preparation, self._survey.white
            )
            for files, numbers in zip(self._files, self._numbers[0], strict=True)
        ]

    @cached_property
    def _tables(self) -> list[pd.DataFrame]:
        """What is shown of every picture; each file is read here once, so that a bad one is found first."""
        tables = []
        for part, (data, files) in enumerate(zip(self._data, self._files, strict=True)):
            names = self._classes[min(part, 1)]
            tables.append(
                pd.DataFrame(
                    {
                        "id": self._rows[part] if part == 2 else np.arange(len(files)),
                        "label": [names[label] for label in data.labels],
                        "image": [data.thumbnail(i) for i in range(len(data))],
                        "source": [called_below(path, self.folders[part]) for _, path in files],
                    }
                )
            )
        return tables

    @cached_property
    def _statement(self) -> Statement:
        first, second = self.checkpoints
        found = self.correspondence
        pairs: dict[str, Any] = {"frozen": found.frozen, "inherits": found.inherits}
        stages = [
            Stage("pretrain", first.model, image_loss, self._data[0], forward=logits_of),
            Stage("finetune", second.model, image_loss, self._data[1], forward=logits_of, **pairs),
        ]
        return self.options.stated(stages, self.terms)

    @property
    def _knowledge(self) -> list[str]:
        """Notes on models that are no better than guessing at the classes that their pictures are said to be of."""
        notes = []
        for name, checkpoint, data in zip(STAGES, self.checkpoints, self._data, strict=False):
            right, classes = _right(checkpoint.model, data), len(set(data.labels))
            if classes > 1 and right <= BY_CHANCE / classes:
                notes.append(
                    f"{name}: the model gives {right:.0%} of its own pictures the class of their folder, no more than "
                    "guessing does. Are folders and outputs matched, and is the picture's size the one that it was "
                    "trained at (--image-size)? If not, all scores are of no use."
                )
        return notes


def _drawn(count: int, most: int | None, draw: np.random.Generator) -> np.ndarray:
    """Positions of at most so many of `count`, in order."""
    rows = np.arange(count)
    return np.sort(draw.permutation(rows)[:most]) if most and most < count else rows


def logits_of(model: nn.Module, batch: Sequence[Any]) -> Tensor:
    """The logits (B, C) of a batch of pictures, of a model of torchvision, timm or transformers."""
    made = model(batch[0])
    logits: Tensor = made if isinstance(made, Tensor) else made.logits
    return logits


def image_loss(outputs: Tensor, batch: Sequence[Tensor]) -> Tensor:
    """Cross-entropy of each picture, (B,), in nats."""
    return cross_entropy(outputs, batch[1], reduction="none")


def _refuse_other_tasks(checkpoint: Checkpoint) -> None:
    """Raise StudyError unless the model is an image classifier with one class a picture."""
    if checkpoint.config is None:
        return
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as NAMES

    known = {name for each in NAMES.values() for name in ((each,) if isinstance(each, str) else each)}
    where = printable(checkpoint.path)
    if checkpoint.architecture not in known:
        raise StudyError(
            f"The model in {where} is a {checkpoint.architecture}, which is no image classifier of transformers. Save "
            "it with the head that it was trained with, or give it in a file: `upstream precompute FILE.py:FUNCTION`."
        )
    problem = getattr(checkpoint.config, "problem_type", None)
    if problem not in (None, "single_label_classification"):
        raise StudyError(
            f"The model in {where} was trained by {problem}; a folder says one class of a picture. Give it in a file: "
            "`upstream precompute FILE.py:FUNCTION`."
        )


def _outputs_of(checkpoint: Checkpoint, prepare: Preparation) -> int:
    from PIL import Image

    picture = prepare(Image.new("RGB", (64, 64)))
    try:
        with torch.no_grad():
            return int(logits_of(checkpoint.model, (picture[None],)).shape[-1])
    except (ValueError, RuntimeError, AssertionError, TypeError, AttributeError) as error:
        raise StudyError(
            f"The model in {printable(checkpoint.path)} does not take pictures {tuple(picture.shape)} as its image "
            f"processor makes them: {printable(str(error))[:200]}. Give the processor that it was trained with, or "
            "--image-size."
        ) from error


def _right(model: nn.Module, data: PreparedPictures) -> float:
    """The share of some pictures that the model gives the class of their folder."""
    places = range(0, len(data), -(-len(data) // LOOKED_AT))
    right = 0
    with torch.no_grad():
        for start in range(0, len(places), 16):
            rows = [data[place] for place in places[start : start + 16]]
            found = logits_of(model, (torch.stack([row[0] for row in rows]),)).argmax(1)
            right += int((found == torch.tensor([row[1] for row in rows])).sum())
    return right / len(places)
