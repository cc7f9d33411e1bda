"""What holds for all picture files of a study together: which value is white, and how many have several pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from influence.errors import StudyError
from influence.studies.images.picture_files import (
    BITS_14,
    brightest_byte,
    few_bits,
    is_wide,
    open_picture,
    opened,
    page_count,
)
from influence.studies.images.sources.member import Source, called
from influence.studies.images.white import DARK, extent_of, is_deep, white_of


class Survey(NamedTuple):
    """`white`: the value that is white in pictures of 16 bits or floats, None without such; `notes` for people."""

    white: int | None
    notes: tuple[str, ...]


def survey(files: Sequence[Source]) -> Survey:
    """Look at the head of every file, and decode those whose format leaves open what is white.

    Raises:
        StudyError: a file is no picture, no one value is white in all of them, or 16 bits a colour are hardly used.
    """
    deep, wide, paged = [], [], []
    for path in files:
        with opened(path) as image:
            if is_deep(image):
                deep.append(path)
            if is_wide(image):
                wide.append(path)
            if page_count(image) > 1:
                paged.append(path)
    brightest = {path: brightest_byte(open_picture(path)) for path in wide}
    if wide and 0 < max(brightest.values()) < BITS_14:
        raise StudyError(few_bits(*max(brightest.items(), key=lambda item: item[1])))
    notes = []
    if paged:
        notes.append(
            f"Pictures with several frames or pages, of which the first was taken: {len(paged):,}, the first "
            f"{called(paged[0])}."
        )
    if not deep:
        return Survey(None, tuple(notes))
    extents = [extent for path in deep if (extent := extent_of(open_picture(path), called(path)))]
    white, top = white_of(extents), max(extents, key=lambda extent: extent.most)
    notes.append(
        f"In the {len(deep):,} of {len(files):,} pictures that hold 16 bits or floats, 0 was taken for black and "
        f"{white:,} for white, since their largest value is {top.most:,.6g} (in {top.file})."
    )
    dark = [extent.file for extent in extents if extent.most < DARK * white]
    if dark:
        notes.append(f"With that, {len(dark):,} of them are dark: no value above a tenth. The first is {dark[0]}.")
    return Survey(white, tuple(notes))
