"""Read picture files with checks of size and format, and folders of them, one for each class."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from influence.errors import StudyError

MAX_PIXELS = 100_000_000
"""Pixels of the largest picture that is decoded."""
THUMBNAIL = 64


def read_picture(path: Path, file: IO[bytes] | None = None) -> Image.Image:
    """The picture in file `path` (or in the open `file` that is called so), upright, in RGB.

    Raises:
        StudyError: it is no picture, is damaged, or is too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd but readable files; size is looked at below
            with Image.open(file or path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise StudyError(_too_large(path, f"{image.width} x {image.height} pixels"))
                return upright_rgb(image)
    except Image.DecompressionBombError as error:
        raise StudyError(_too_large(path, "too many pixels")) from error
    except FileNotFoundError as error:
        raise StudyError(f"{printable(path)} is not there (a link to nowhere?). Remove it.") from error
    except PermissionError as error:
        raise StudyError(f"{printable(path)} cannot be read: {error.strerror}.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow raises on files that are not in order
        raise StudyError(
            f"{printable(path)} is no picture that can be read ({printable(str(error))}). Remove or replace it."
        ) from error


def upright_rgb(image: Image.Image) -> Image.Image:
    """The picture upright by its EXIF, in RGB: transparent pixels become white, 16-bit grey is scaled to 8 bits."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode[0] in "IF":
        values = np.asarray(upright, dtype=np.float64)
        scale = 1.0 if values.max(initial=0) <= 255 else 255 / 65535
        upright = Image.fromarray((values * scale).clip(0, 255).astype(np.uint8))
    if upright.has_transparency_data:
        colours = upright.convert("RGBA")
        page = Image.new("RGBA", colours.size, "white")
        upright = Image.alpha_composite(page, colours)
    return upright.convert("RGB")


def png(image: Image.Image) -> bytes:
    """`image` as a PNG of at most 64 pixels a side."""
    small, buffer = image.copy(), io.BytesIO()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    small.save(buffer, "PNG")
    return buffer.getvalue()


def class_folders(root: Path) -> dict[str, list[Path]]:
    """Class name -> its picture files, both by name, of a folder that holds one folder for each class.

    Hidden files are passed over. Links are followed. A name that is no UTF-8 is shown with its bytes escaped.

    Raises:
        StudyError: `root` is missing or no folder, holds no folders, or a class folder without files.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise StudyError(f"Folder {printable(root)} {what}; expected a folder with one folder of pictures per class.")
    folders = [entry for entry in _entries(root) if entry.is_dir()]
    if not folders:
        raise StudyError(
            f"Folder {printable(root)} holds no class folders; put the pictures of each class into a folder of its "
            f"own, for instance {printable(root)}/cat/1.jpg."
        )
    found = {printable(folder.name): [f for f in _entries(folder) if not f.is_dir()] for folder in folders}
    empty = [name for name, files in found.items() if not files]
    if empty:
        raise StudyError(f"Folder {printable(root)}: class folder {empty[0]!r} holds no pictures. Fill or remove it.")
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.name[0] != "." and p.name not in ("Thumbs.db", "desktop.ini"))
    except OSError as error:
        raise StudyError(f"Folder {printable(folder)} cannot be read: {error.strerror}.") from error


def printable(path: Path | str) -> str:
    """A file name as text that can be shown and stored, whatever its bytes are."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _too_large(path: Path, size: str) -> str:
    return f"{printable(path)} has {size}; pictures up to {MAX_PIXELS // 10**6} million are read. Make it smaller."
