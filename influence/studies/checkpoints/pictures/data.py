"""Pictures as the model's own processor prepares them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from influence.errors import StudyError, printable
from influence.studies.checkpoints.reading.preparation import Preparation
from influence.studies.images.picture_files import open_picture, png
from influence.studies.images.pictures import CACHE_BYTES, whole_of
from influence.studies.images.sources.member import Source, called, file_of
from influence.studies.images.white import upright_rgb
from influence.studies.question import Input


class PreparedPictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Picture files as (float tensor (3, height, width), class number); kept in memory where they fit.

    Args:
        sources: of the pictures.
        labels: outputs of the head.
        prepare: what turns a picture in RGB into the model's input.
        white: as of `Pictures`.
    """

    def __init__(self, sources: Sequence[Source], labels: Sequence[int], prepare: Preparation, white: int | None):
        self.sources, self.labels, self.prepare, self.white = list(sources), list(labels), prepare, white
        self.files = list(dict.fromkeys(map(file_of, sources)))
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        if position >= len(self):
            raise IndexError(position)
        made = self._kept.get(position)
        if made is None:
            made = self._keep(position, self._whole(position))
        return made, self.labels[position]

    def thumbnail(self, position: int) -> bytes:
        """A PNG of at most 64 pixels a side. What was decoded for it is kept."""
        whole = self._whole(position)
        self._keep(position, whole)
        return png(whole)

    def _whole(self, position: int) -> Image.Image:
        return upright_rgb(open_picture(self.sources[position]), self.white)

    def _keep(self, position: int, whole: Image.Image) -> Tensor:
        made = prepared(whole, self.prepare, called(self.sources[position]))
        if made.nbytes * len(self) <= CACHE_BYTES:
            self._kept[position] = made
        return made


def prepared(whole: Image.Image, prepare: Callable[[Image.Image], Tensor], what: str) -> Tensor:
    """The model's input of a picture.

    Raises:
        StudyError: the processor fails on it, or makes something else of it.
    """
    try:
        made = prepare(whole)
    except (ValueError, RuntimeError, TypeError, OSError, ZeroDivisionError) as error:
        raise StudyError(
            f"{what} ({whole.width} x {whole.height} pixels) cannot be prepared by the model's image processor: "
            f"{printable(str(error))[:200]}. Remove or replace it."
        ) from error
    if made.dim() != 3:
        raise StudyError(
            f"The model's image processor makes a tensor {tuple(made.shape)} of {what}, expected (3, height, width)."
        )
    return made


def question(image: Image.Image, prepare: Preparation, white: int | None) -> Input:
    """A picture that the model is asked about.

    Raises:
        StudyError: as `whole_of` and `prepared`.
    """
    whole, notes = whole_of(image, white)
    return Input((prepared(whole, prepare, "The picture"), 0), png(whole), notes=notes)


def encoder(prepare: Preparation, white: int | None) -> Callable[[Image.Image], Input]:
    """`question` for a study's processor."""
    return partial(question, prepare=prepare, white=white)
