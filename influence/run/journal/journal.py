"""The journal of a draft: the steps that are finished, with size and checksum of every file that each of them wrote.

It is JSON lines. The first has the settings, each later one an entry, and each a checksum that goes over the lines
before it too. So an entry is added to the file without writing the others again, however many there are; a killed
process may leave the last line without its end, and that entry is lost. The first line counts those that were written
with it, in one step, none of which can be missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from influence.run.files import JOURNAL_FILE, LISTED_FILE, manifest_checksum
from influence.run.journal.disk import Digest, is_whole
from influence.run.plain import parsed_json, plain_file, read_plain, replacement, writing

VERSION = 3
"""Of the journal's form; one of another form is not read."""
LARGEST_JOURNAL = 2**28
"""Bytes of a journal that are read; a step has some 150 for each of its files."""
STEP, RELEASED, FORGOTTEN, REMARKS = "step", "released", "forgotten", "remarks"
"""What an entry is of."""


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
        self._unwritten: list[dict[str, Any]] = []
        self._last = ""
        """Checksum of the last line in the file; empty: there is none yet that this journal wrote."""

    @classmethod
    def read(cls, folder: Path) -> Journal:
        """The journal of the draft in `folder`, as it was written.

        Raises:
            ValueError, LookupError, TypeError, AttributeError: it is not what was written, or of another version.
            OSError: it cannot be read.
        """
        lines = read_plain(folder / JOURNAL_FILE, LARGEST_JOURNAL).split(b"\n")[:-1]
        if not lines:
            raise ValueError("its journal has no whole line")
        head, *entries = map(parsed_json, lines)
        if head.get("version") != VERSION:
            raise ValueError(f"its journal is of version {head.get('version')}, expected {VERSION}")
        if len(entries) < head["entries"]:
            raise ValueError(f"its journal has {len(entries)} entries, expected {head['entries']} at least")
        last = ""
        for line in (head, *entries):
            if line["checksum"] != (last := _checksum(line, last)):
                raise ValueError("its journal was changed after it was written")
        journal = cls(head["settings"])
        for entry in entries:
            journal._take(entry)
        journal._unwritten.clear()
        return journal

    def write(self, folder: Path, whole: bool = False) -> None:
        """Put on the disk what is not there.

        Args:
            folder: of the draft.
            whole: write all of it, in one step; else a process does so when it writes for the first time.

        Raises:
            RunError: the disk is full, or may not be written.
        """
        if not (whole or self._unwritten):
            return
        path, whole = folder / JOURNAL_FILE, whole or not self._last
        last, lines = "" if whole else self._last, list[str]()
        self._last = ""  # what fails is followed by the whole
        for entry in self._whole() if whole else self._unwritten:
            last = _checksum(entry, last)
            lines.append(json.dumps(entry | {"checksum": last}, allow_nan=False) + "\n")
        text = "".join(lines).encode()
        if whole:
            with replacement(path) as new:
                new.write_bytes(text)
        else:
            with writing(path), open(path, "ab", opener=plain_file) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        self._last = last
        self._unwritten.clear()

    def _whole(self) -> list[dict[str, Any]]:
        """The fewest lines that say all."""
        steps = [{STEP: step, "record": told, "files": self._files.get(step, {})} for step, told in self.steps.items()]
        entries = [{REMARKS: self.remarks}, *steps]
        return [{"version": VERSION, "settings": self.settings, "entries": len(entries)}, *entries]

    def end(self, step: str, record: Any, files: Mapping[str, Digest]) -> None:
        """Say that `step` is finished, with `record`. A step that is named again keeps the files that it has."""
        self._say({STEP: step, "record": record, "files": dict(files)})

    def remark(self, remarks: Mapping[str, list[str]]) -> None:
        """Say what finished steps have told by now."""
        if remarks != self.remarks:
            self._say({REMARKS: dict(remarks)})

    def release(self, steps: Collection[str]) -> None:
        """Say nothing any more of the files of `steps`, which nobody needs."""
        if had := [step for step in steps if self.names_files_of(step)]:
            self._say({RELEASED: had})

    def forget(self, steps: Collection[str]) -> None:
        """Forget these alone."""
        if there := [step for step in steps if step in self.steps]:
            self._say({FORGOTTEN: there})

    def cut(self, step: str) -> None:
        """Forget `step` and all later ones, which may stand on it."""
        self.forget(list(self.steps)[list(self.steps).index(step) :])

    def _say(self, entry: dict[str, Any]) -> None:
        self._take(entry)
        self._unwritten.append(entry)

    def _take(self, entry: Mapping[str, Any]) -> None:
        """Change the journal as an entry says."""
        self.remarks = dict(entry.get(REMARKS, self.remarks))
        for step in entry.get(RELEASED, ()):
            self._files.pop(step, None)
        for step in entry.get(FORGOTTEN, ()):
            del self.steps[step]
            self._files.pop(step, None)
        if STEP in entry:
            step, files = entry[STEP], {name: Digest(*digest) for name, digest in entry["files"].items()}
            odd = [name for name in files if not LISTED_FILE.fullmatch(name)]
            if odd:
                raise ValueError(f"its journal names the file {odd[0]!r}")
            self.steps[step] = entry["record"]
            self._files[step] = {**self._files.get(step, {}), **files}

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


def _checksum(line: Mapping[str, Any], last: str) -> str:
    """Of a line, and of all before it, of which the last has checksum `last`."""
    return manifest_checksum({**line, "after": last})
