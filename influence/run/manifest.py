"""run.json as it stands in a run's folder, read and verified; `records.py` says what its fields are."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from influence.errors import RunError
from influence.run.files import JOURNAL_FILE, MANIFEST_FILE, draft_name
from influence.run.plain import parsed_json, read_plain
from influence.run.records import FORMAT, Manifest, manifest_of

LARGEST_MANIFEST = 2**25
"""Bytes of run.json that are read; that of the largest built-in study has some 50,000."""
KEPT_MANIFESTS = 256
"""Manifests that are kept as they were parsed: lists of runs are drawn again and again."""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the run in `folder`, verified. What is there unchanged is not parsed again; treat as read-only.

    Raises:
        RunError: missing, unfinished, not JSON, changed, from another format, or without a field that it must have.
    """
    found = _manifest(folder, _manifest_text(folder))
    if isinstance(found, RunError):
        raise RunError(*found.args)
    return found


@functools.lru_cache(KEPT_MANIFESTS)
def _manifest(folder: Path, text: bytes) -> Manifest | RunError:
    try:
        return manifest_of(_told(folder, text), folder)
    except RunError as error:
        return RunError(*error.args)  # one that does not hold what led to it


def read_json(folder: Path) -> dict[str, Any]:
    """run.json of `folder` as it stands, with its format verified.

    Raises:
        RunError: missing, unfinished, not JSON, or from another format.
    """
    return _told(folder, _manifest_text(folder))


def _manifest_text(folder: Path) -> bytes:
    if not os.path.isdir(folder):  # as Path.is_dir, but a name too long for the file system is only a missing folder
        if os.path.isdir(folder.with_name(draft_name(folder.name))):
            raise RunError(f"Run {folder} is not finished. Run the same `upstream precompute` command to resume it.")
        raise RunError(f"There is no run at {folder}. `upstream runs` lists what is there; `upstream demo` makes one.")
    try:
        return read_plain(folder / MANIFEST_FILE, LARGEST_MANIFEST)
    except FileNotFoundError:
        if (folder / JOURNAL_FILE).is_file():
            raise RunError(
                f"{folder} is not finished. Run the same `upstream precompute` command to resume it."
            ) from None
        raise RunError(
            f"{folder} is not a run: it holds no run.json. Point to a folder that `upstream runs` lists."
        ) from None
    except OSError as error:
        raise _unreadable(folder, error) from error


def _told(folder: Path, text: bytes) -> dict[str, Any]:
    try:
        told = parsed_json(text)
    except ValueError as error:
        raise _unreadable(folder, error) from error
    if not isinstance(told, dict) or type(told.get("format")) is not int:
        raise RunError(f"run.json in {folder} names no format version. Delete the folder and compute it again.")
    if told["format"] != FORMAT:
        raise RunError(
            f"Run {folder} has format {told['format']}; this version of upstream reads format {FORMAT}. "
            + ("Update upstream." if told["format"] > FORMAT else "Compute the run again.")
        )
    return told


def _unreadable(folder: Path, error: Exception) -> RunError:
    return RunError(f"run.json in {folder} cannot be read ({error}). Delete the folder and compute it again.")
