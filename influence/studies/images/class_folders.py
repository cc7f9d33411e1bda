"""Folders of pictures, one for each class, and what is left out of them."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

from influence.errors import StudyError, printable
from influence.studies.images.picture_files import KINDS

NO_PICTURES = {"Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r", "__MACOSX", "@eaDir"}
"""What operating systems leave beside pictures; hidden files (.DS_Store, ._1.png) are passed over too."""


def class_folders(root: Path) -> dict[str, list[Path]]:
    """Class name -> its picture files, both by name, of a folder that holds one folder for each class.

    Hidden files and those of operating systems are passed over; `left_out` tells of other pictures. Links are
    followed. A name that is no UTF-8 is shown with its bytes escaped.

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
    found = {}
    for folder in folders:
        inside = _entries(folder)
        name, files = printable(folder.name), [entry for entry in inside if not entry.is_dir()]
        if not files:
            below = f", only folders ({printable(inside[0].name)!r} ...)" if inside else ""
            what = "Put its pictures right into it, or remove it." if inside else "Fill or remove it."
            raise StudyError(f"Folder {printable(root)}: class folder {name!r} holds no pictures{below}. {what}")
        found[name] = files
    return found


def left_out(root: Path) -> list[str]:
    """A sentence about pictures beside the class folders of `root`, or in folders below them; none without such."""
    suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind in KINDS}
    below = [
        Path(folder)
        for inside in _entries(root)
        if inside.is_dir()
        for entry in _entries(inside)
        if entry.is_dir()
        for folder, _, _ in os.walk(entry)
    ]
    names = sorted(
        printable(entry.relative_to(root))
        for folder in (root, *below)
        for entry in _entries(folder)
        if entry.suffix.lower() in suffixes and not entry.is_dir()
    )
    if not names:
        return []
    return [
        f"Pictures left out of {printable(root)}, since they lie beside the class folders or in folders below them: "
        f"{len(names):,}, the first {names[0]}."
    ]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.name[0] != "." and entry.name not in NO_PICTURES)
    except OSError as error:
        raise StudyError(f"Folder {printable(folder)} cannot be read: {error.strerror}.") from error
