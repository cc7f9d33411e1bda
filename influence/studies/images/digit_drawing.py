"""A drawn digit, centred as MNIST's are."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from influence.errors import StudyError
from influence.studies.images.white import alone_rgb
from influence.studies.question import Input

SIDE, BOX = 28, 20
"""Of a digit's picture, and of the box that its ink fills, in pixels (as MNIST's were made)."""
MIDDLE = 14.5
"""Position of the centre of mass, in pixels from the edge, as measured on MNIST's pictures."""
FAINT = 10
"""Ink (0 to 255) up to which a pixel counts as background."""


def digit(image: Image.Image) -> Input:
    """A drawn digit in MNIST's format: grey, scaled to a box of 20 pixels, centre of mass in the middle of 28 x 28.

    Raises:
        StudyError: there is no ink.
    """
    pixels = centred(ink_of(alone_rgb(image, "The picture")))
    buffer = io.BytesIO()
    Image.fromarray(255 - pixels).save(buffer, "PNG")
    return Input((torch.from_numpy(pixels).double()[None] / 255, torch.tensor(0)), buffer.getvalue())


def ink_of(image: Image.Image) -> np.ndarray:
    """How dark each pixel is against the paper, uint8 (h, w); light writing on dark counts as ink too."""
    grey = np.asarray(image.convert("L"))
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return 255 - grey if np.median(border) >= 128 else grey


def centred(ink: np.ndarray) -> np.ndarray:
    """Scaled with antialiasing so that the ink just fits the box, its centre of mass in the middle: uint8 (28, 28).

    Raises:
        StudyError: there is no ink.
    """
    rows, columns = (np.flatnonzero((ink > FAINT).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        raise StudyError("There is no ink in the picture. Draw a digit, or choose a picture of one.")
    cut = Image.fromarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy())
    scale = BOX / max(cut.size)
    small = np.asarray(cut.resize([max(1, round(side * scale)) for side in cut.size], Image.Resampling.BOX))
    weights = small.astype(np.float64)
    middle = [(weights.sum(axis=1 - axis) @ (np.arange(n) + 0.5)) / weights.sum() for axis, n in enumerate(small.shape)]
    # A lopsided shape stays whole: it is moved as far as there is room.
    top, left = (int(np.clip(round(MIDDLE - m), 0, SIDE - n)) for m, n in zip(middle, small.shape, strict=True))
    result = np.zeros((SIDE, SIDE), np.uint8)
    result[top : top + small.shape[0], left : left + small.shape[1]] = small
    return result
