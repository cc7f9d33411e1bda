"""What a model makes of a new question: a picture, a drawing or a text, as an item like those of its queries."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer

from influence.errors import StudyError
from influence.studies.pictures import Pictures, plain, png
from influence.studies.tokenizing import UNKNOWN, tokenize

DRAWING, PICTURE, TEXT = "drawing", "picture", "text"
"""Forms of a question."""
SIDE, BOX = 28, 20
"""Of a digit's picture, and of the box that its ink fills, in pixels (as MNIST's were made)."""
MIDDLE = 14.5
"""Where the centre of mass goes, in pixels from the edge: where it is in MNIST's pictures, measured."""
FAINT = 10
"""Ink (0 to 255) that counts as paper."""
LONGEST = 20_000
"""Characters of a text that are looked at."""
NAMED, LONGEST_NAMED = 8, 40
"""Words that are named where the model does not know them, and characters of each."""


@dataclass(frozen=True)
class Input:
    """A question as the model reads it.

    Attributes:
        item: of the form of the study's queries; its class is a placeholder.
        shown: what is shown of it, PNG bytes or the text.
        read: characters of the text that the model reads; None for pictures.
        notes: what a careful reader should know of how it was read.
    """

    item: Any
    shown: bytes | str
    read: int | None = None
    notes: tuple[str, ...] = ()


def digit(image: Image.Image) -> Input:
    """A drawn digit as MNIST has them: in grey, ink in a box of 20 pixels, its mass in the middle of 28 x 28.

    Raises:
        StudyError: there is no ink.
    """
    pixels = centred(ink_of(plain(image)))
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


def picture(image: Image.Image, size: int) -> Input:
    """A picture at the model's size: the shorter side scaled to it, the middle cut out."""
    whole = plain(image)
    return Input(Pictures([partial(_same, whole)], [0], size)[0], png(whole))


def _same(image: Image.Image) -> Image.Image:
    return image


def text(written: str, tokenizer: Tokenizer, context: int) -> Input:
    """The first `context` tokens of a text, and what of it the model cannot read.

    Raises:
        StudyError: it is empty, or nothing but space.
    """
    whole = written[:LONGEST]
    if not whole.strip():
        raise StudyError("There is no text. Write a sentence.")
    found = tokenize(tokenizer, [whole], context, "Your text")
    ids, end = found.ids[0], int(found.places["ends"].iloc[0][-1])
    notes = []
    if found.cut or len(whole) < len(written):
        notes.append(f"The text is longer than what the model reads: it was cut after {context} tokens.")
    if unknown := np.flatnonzero(ids == UNKNOWN).tolist():
        starts, ends = (found.places[name].iloc[0] for name in ("starts", "ends"))
        words = list(dict.fromkeys(whole[starts[at] : ends[at]] for at in unknown))
        named = ", ".join(f"“{word[:LONGEST_NAMED]}”" for word in words[:NAMED]) + (" …" if len(words) > NAMED else "")
        count = f"{len(unknown)} of {len(ids)} tokens are not in the model's vocabulary"
        notes.append(f"{count}; it reads each as “unknown”: {named}.")
    return Input((ids, 0), whole, end, tuple(notes))
