"""A picture with each of its patches blank: what is seen where, asked of one example."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from influence.live.edits import picture_of, with_picture
from influence.studies.images.mask import masked

ALONG = 12
"""Patches along the longer side of a picture, at most."""


@dataclass(frozen=True)
class Blanks:
    """An example with each patch of its picture blank, row by row of patches; `shape` has how many down and across."""

    examples: list[Any]
    shape: tuple[int, int]


def blanks(example: Any, side: int | None = None) -> Blanks:
    """Every patch of `side` pixels blank, one at a time; those at the right and lower edge may be smaller.

    Raises:
        StudyError: the example is no picture.
    """
    picture = picture_of(example)
    tall, wide = picture.shape[-2:]
    side = side or max(1, math.ceil(max(tall, wide) / ALONG))
    tops, lefts = range(0, tall, side), range(0, wide, side)
    boxes = [(left, top, min(side, wide - left), min(side, tall - top)) for top in tops for left in lefts]
    return Blanks([with_picture(example, masked(picture, box)) for box in boxes], (len(tops), len(lefts)))
