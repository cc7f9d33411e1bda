"""Pictures that a visitor uploads or draws, read with care."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path

from PIL import Image

from influence.errors import StudyError
from influence.live import UPLOAD_PIXELS, open_picture

LARGEST_FILE = 10 * 2**20
"""Bytes of the largest file that is looked at."""
DRAWING_PREFIX = "data:image/png;base64,"


class _Content(io.BytesIO):
    """Named in messages as people would, not by its address in memory."""

    def __repr__(self) -> str:
        return "its content"


def upload(name: str, content: bytes) -> Image.Image:
    """The picture in an uploaded file.

    Raises:
        StudyError: it is too large, damaged, or no picture.
    """
    if len(content) > LARGEST_FILE:
        raise StudyError(
            f"The file has {len(content):,} bytes; at most {LARGEST_FILE:,} are read. Choose a smaller one."
        )
    return open_picture(Path(Path(name).name), _Content(content), UPLOAD_PIXELS)


def drawing(address: str) -> Image.Image:
    """The drawing that the canvas sent.

    Raises:
        StudyError: what it sent is no picture.
    """
    try:
        if not address.startswith(DRAWING_PREFIX):
            raise ValueError
        content = base64.b64decode(address.removeprefix(DRAWING_PREFIX), validate=True)
    except (ValueError, binascii.Error) as error:
        raise StudyError("What was drawn is no picture. Clear the canvas and draw again.") from error
    return upload("drawing.png", content)
