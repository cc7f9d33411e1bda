"""Pictures by class, from a folder of class folders or from tar files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from influence.studies.images.class_folders import class_folders, left_out
from influence.studies.images.sources.member import Source
from influence.studies.images.sources.tar_shards import is_number, tar_classes, tar_files


class ByClass(NamedTuple):
    """`classes`: name -> pictures; `notes` for people; `numbered`: whether tar files tell the classes by numbers."""

    classes: dict[str, list[Source]]
    notes: list[str]
    numbered: bool


def pictures_at(path: Path) -> ByClass:
    """The pictures at a path: a folder of class folders, a tar file, a folder of tar files, or a pattern for them.

    No picture is read yet.

    Raises:
        StudyError: as `class_folders`, `tar_files` and `tar_classes`.
    """
    if files := tar_files(path):
        found, notes = tar_classes(files)
        return ByClass({name: [*members] for name, members in found.items()}, notes, all(map(is_number, found)))
    return ByClass({name: [*paths] for name, paths in class_folders(path).items()}, left_out(path), False)
