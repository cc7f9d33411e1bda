"""The journal of a draft: the steps that are finished, with size and checksum of every file that each of them wrote."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from influence.run.files import JOURNAL_FILE, LISTED_FILE, manifest_checksum
from influence.run.journal.disk import Digest, is_whole
from influence.run.plain import parsed_json, read_plain

VERSION = 2
"""Of the journal's form; one of another form is not read."""
LARGEST_JOURNAL = 2**28
"""Bytes of a journal that are read; a step has some 150 for each of its files."""


class Journal:
    """The finished steps of a draft that was begun with `settings`.

    Attributes:
        steps: finished step -> its record, in the order of their ends.
        remarks: what finished steps have told of the scores.
    """

    def __init__(self, settings: Mapping[str, Any]):
        self.settings = settings
        self.steps: dict[str, Any] = {}
        self.remarks: dict[str, list[str]] = {}
        self._files: dict[str, dict[str, Digest]] = {}

    @classmethod
    def read(cls, folder: Path) -> Journal:
        """The journal of the draft in `folder`, as it was written.

        Raises:
            ValueError, LookupError, TypeError, AttributeError: it is not what was written, or of another version.
            OSError: it cannot be read.
        """
        told = parsed_json(read_plain(folder / JOURNAL_FILE, LARGEST_JOURNAL))
        if told.get("version") != VERSION:
            raise ValueError(f"its journal is of version {told.get('version')}, expected {VERSION}")
        if told["checksum"] != manifest_checksum(told):
            raise ValueError("its journal was changed after it was written")
        journal = cls(told["settings"])
        journal.steps, journal.remarks = dict(told["steps"]), dict(told["remarks"])
        for step, files in told["files"].items():
            journal._files[step] = {name: Digest(*digest) for name, digest in files.items()}
            odd = [name for name in files if not LISTED_FILE.fullmatch(name)]
            if odd:
                raise ValueError(f"its journal names the file {odd[0]!r}")
        return journal

    def told(self) -> dict[str, Any]:
        """What is written, as JSON."""
        content = {
            "version": VERSION,
            "settings": self.settings,
            "steps": self.steps,
            "files": self._files,
            "remarks": self.remarks,
        }
        return content | {"checksum": manifest_checksum(content)}

    def end(self, step: str, record: Any, files: Mapping[str, Digest]) -> None:
        """Say that `step` is finished, with `record`. A step that is named again keeps the files that it has."""
        self.steps[step] = record
        self._files[step] = {**self._files.get(step, {}), **files}

    def release(self, step: str) -> bool:
        """Say nothing any more of the files of `step`, which nobody needs. Returns whether it had any."""
        return bool(self._files.pop(step, None))

    def names_files_of(self, step: str) -> bool:
        """Whether `step` wrote files that were not released since."""
        return bool(self._files.get(step))

    @property
    def checksums(self) -> dict[str, str]:
        """sha256 of every file of a finished step."""
        return {name: digest.sha256 for files in self._files.values() for name, digest in files.items()}

    def lost(self, folder: Path, verified: Collection[str]) -> tuple[str, str] | None:
        """The first step of which a file in `folder` is not what it was, and that file; None if all are there.

        Args:
            folder: of the draft.
            verified: files that need not be looked at.
        """
        for step in self.steps:
            for name, digest in self._files.get(step, {}).items():
                if name not in verified and not is_whole(folder / name, digest):
                    return step, name
        return None

    def cut(self, step: str) -> None:
        """Forget `step` and all later ones, which may stand on it."""
        self.forget(list(self.steps)[list(self.steps).index(step) :])

    def forget(self, steps: Collection[str]) -> None:
        """Forget these alone."""
        for step in steps:
            self.steps.pop(step, None)
            self._files.pop(step, None)
