"""Pictures as a data set: decoded on access, and cached in memory where they fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from influence.errors import StudyError
from influence.studies.images.picture_files import PAGES, png
from influence.studies.images.white import extent_of, refuse_misfit, upright_rgb
from influence.studies.question import Input

CACHE_BYTES = 2**30
"""A data set caches its decoded pictures if they need at most this many bytes; else it decodes on every access."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours of photographs (ImageNet's), which torchvision's weights expect."""


class Pictures(Dataset[tuple[Tensor, int]]):
    """Pictures of one size as (normalised float tensor (3, size, size), class number).

    Args:
        sources: for each picture a function that reads it, upright.
        labels: class numbers.
        size: side in pixels: the shorter side is scaled to it, then the middle is cut out.
        dtype: of the tensors.
        white: the value that is white in pictures of 16 bits or floats; None: there are no such.

    Attributes:
        brightest: largest value, 0 to 255, of the pictures that were read.
        files: that they are read from, if they are.
    """

    def __init__(
        self,
        sources: Sequence[Callable[[], Image.Image]],
        labels: Sequence[int],
        size: int,
        dtype: torch.dtype = torch.float32,
        white: int | None = None,
    ):
        self.sources, self.labels, self.size, self.dtype = list(sources), [int(label) for label in labels], size, dtype
        self.white, self.brightest = white, 0
        self.files: list[Path] = []
        fits = len(self.sources) * size * size * 3 <= CACHE_BYTES
        self._kept: list[np.ndarray | None] | None = [None] * len(self.sources) if fits else None
        self._mean, self._deviation = (torch.tensor(v, dtype=dtype)[:, None, None] for v in (MEAN, DEVIATION))

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        pixels = self._kept[position] if self._kept is not None else None
        if pixels is None:
            pixels = self._keep(position, self.picture(position))
        scaled = torch.from_numpy(pixels).permute(2, 0, 1).to(self.dtype) / 255
        return (scaled - self._mean) / self._deviation, self.labels[position]

    def picture(self, position: int) -> Image.Image:
        """The whole picture, upright, in RGB."""
        return upright_rgb(self.sources[position](), self.white)

    def thumbnail(self, position: int) -> bytes:
        """A PNG of at most 64 pixels a side. What was decoded for it is kept for training."""
        whole = self.picture(position)
        self._keep(position, whole)
        return png(whole)

    def _keep(self, position: int, whole: Image.Image) -> np.ndarray:
        pixels = np.asarray(ImageOps.fit(whole, (self.size, self.size), Image.Resampling.BILINEAR)).copy()
        self.brightest = max(self.brightest, int(pixels.max()))
        if self._kept is not None:
            self._kept[position] = pixels
        return pixels


def picture(image: Image.Image, size: int, white: int | None) -> Input:
    """A picture at the model's size: the shorter side scaled to it, the middle cut out.

    Args:
        image: as it is stored; what is white is not decided from it, but by the data that the model was trained on.
        size: of its sides in pixels.
        white: as `Pictures` has it.

    Raises:
        StudyError: it does not say what is white, and neither did the training pictures, or its values are others.
    """
    whole, notes = whole_of(image, white)
    return Input(Pictures([partial(_same, whole)], [0], size)[0], png(whole), notes=notes)


def whole_of(image: Image.Image, white: int | None) -> tuple[Image.Image, tuple[str, ...]]:
    """A picture that is asked about, upright and in RGB, and notes on how it was read.

    Args:
        image: as it is stored.
        white: as `Pictures` has it.

    Raises:
        StudyError: as `picture`.
    """
    extent = extent_of(image, "The picture")
    if extent is not None:
        if white is None:
            raise StudyError(
                "The picture holds 16 bits or floats, the model's training pictures hold 8 bits, so that it is not "
                "known which value is white. Save it with 8 bits."
            )
        refuse_misfit(extent, white, "the pictures that the model was trained on")
    whole, pages = upright_rgb(image, white), image.info.get(PAGES, 1)
    notes = (f"The picture has {pages:,} frames or pages; the first was taken.",) if pages > 1 else ()
    return whole, notes


def _same(image: Image.Image) -> Image.Image:
    return image
