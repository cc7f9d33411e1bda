"""Files that are on the disk: put there, told from others by size and checksum, and compared with what they were."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from influence.run.plain import plain_file, sync_folder, writing


class Digest(NamedTuple):
    """What tells a file from another."""

    size: int
    sha256: str


def digests_of(folder: Path, names: Iterable[str]) -> dict[str, Digest]:
    """Size and checksum of files in `folder`, which are on the disk when this returns, with all folders on their way.

    Args:
        folder: of a draft.
        names: relative ones of files, or of folders, which stand for all files in them.

    Raises:
        RunError: the disk is full, or failed.
    """
    found = sorted({path for name in names for path in _files_at(folder / name)})
    ways = {parent for path in found for parent in path.parents if parent.is_relative_to(folder)}
    with writing(folder):
        digests = {path.relative_to(folder).as_posix(): _on_disk(path) for path in found}
        for way in sorted(ways, reverse=True):
            sync_folder(way)
    return digests


def _files_at(path: Path) -> list[Path]:
    return [inside for inside in path.rglob("*") if inside.is_file()] if path.is_dir() else [path]


def _on_disk(path: Path) -> Digest:
    with open(path, "rb+", opener=plain_file) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        return Digest(os.fstat(file.fileno()).st_size, found)


def is_whole(path: Path, digest: Digest) -> bool:
    try:
        with open(path, "rb", opener=plain_file) as file:
            return os.fstat(file.fileno()).st_size == digest.size and (
                hashlib.file_digest(file, "sha256").hexdigest() == digest.sha256
            )
    except OSError:
        return False
