"""Which value is white in pictures of 16 bits or floats, and all pictures in RGB of 8 bits.

A format of 8 bits says that 255 is white. In 16 bits there may be a camera's 12, floats may go to 1 or to 255: only the
largest value of a whole data set tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from influence.errors import StudyError

WHITES = (1, 255, 1023, 4095, 16383, 65535)
"""Values that may be white: floats up to 1, and 8, 10, 12, 14 and 16 bits."""
DARK = 0.1
"""A picture whose largest value is below this share of white is dark, which is told."""


@dataclass(frozen=True)
class Extent:
    """Least and largest value of the picture in `file`."""

    file: str
    least: float
    most: float


def is_deep(image: Image.Image) -> bool:
    """Whether the format leaves open what is white: whole numbers of 16 or 32 bits, or floats."""
    return image.mode[0] in "IF"


def extent_of(image: Image.Image, file: str) -> Extent | None:
    """The extent of a picture whose format leaves open what is white; None for others.

    Raises:
        StudyError: it holds values that are NaN or infinite.
    """
    if not is_deep(image):
        return None
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise StudyError(f"{file} holds values that are NaN or infinite. Replace them, or remove the picture.")
    return Extent(file, float(values.min()), float(values.max()))


def white_of(extents: Sequence[Extent]) -> int:
    """The value that is white in all these pictures: the least of `WHITES` that no value exceeds.

    Raises:
        StudyError: there is none, or a picture would be black with it.
    """
    brightest = max(extents, key=lambda extent: extent.most)
    white = next((white for white in WHITES if brightest.most <= white), None)
    below = max((each for each in WHITES if each < brightest.most), default=0)
    over = brightest.most % 1 > 0 and brightest.most < 1.02 * below  # floats that were interpolated, a little too much
    if white is None or over or white > max(4.1 * brightest.most, 1):
        raise StudyError(
            f"{brightest.file} has values up to {_number(brightest.most)}, the largest of all; expected up to 1, or a "
            "good part of 255, 1,023, 4,095, 16,383 or 65,535, so that what is white is known. Scale or clip the "
            "pictures, all alike."
        )
    for extent in extents:
        refuse_misfit(extent, white, brightest.file)
    return white


def refuse_misfit(extent: Extent, white: int, by: str) -> None:
    """Raise StudyError if values of a picture are beyond 0 to `white`, or it would be black though it is not.

    `by` says what `white` was found from.
    """
    if extent.least < 0 or extent.most > white:
        beyond = extent.least if extent.least < 0 else extent.most
        raise StudyError(
            f"{extent.file} has the value {_number(beyond)}; expected 0 (black) to {white:,} (white, by {by}). Scale "
            "all pictures alike, for instance to 8 bits."
        )
    if extent.least < extent.most and extent.most * 255 < 2 * white:
        raise StudyError(
            f"{extent.file} has values up to {_number(extent.most)}, where {white:,} is white (by {by}), so that it "
            "would be black. Scale all pictures alike, for instance to 8 bits; remove it if it shows nothing."
        )


def upright_rgb(image: Image.Image, white: int | None) -> Image.Image:
    """A picture upright by its EXIF, in RGB: what is transparent becomes white, values up to `white` get 8 bits."""
    upright = ImageOps.exif_transpose(image)
    if is_deep(upright):
        assert white is not None
        values = np.asarray(upright, dtype=np.float64) * (255 / white)
        upright = Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8))
    if upright.has_transparency_data:
        colours = upright.convert("RGBA")
        page = Image.new("RGBA", colours.size, "white")
        upright = Image.alpha_composite(page, colours)
    return upright.convert("RGB")


def alone_rgb(image: Image.Image, file: str) -> Image.Image:
    """A picture upright, in RGB, as if there were no other: what is white is decided from it alone.

    Raises:
        StudyError: it does not say what is white.
    """
    extent = extent_of(image, file)
    return upright_rgb(image, None if extent is None else white_of([extent]))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.6g}"
