"""`Draft`: writes a run step by step, first as an unfinished folder; later parts are added to the finished run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from influence.errors import RunError
from influence.run.files import (
    COMPUTED_FILE,
    JOURNAL_FILE,
    MANIFEST_FILE,
    belongs_to,
    draft_name,
    locked,
    refuse_name,
    write_json,
)
from influence.run.journal.disk import digests_of
from influence.run.journal.journal import Journal
from influence.run.manifest import read_manifest
from influence.run.plain import REMEDIES, own_folder, sweep, sync_folder
from influence.run.reading import Run
from influence.run.records import Manifest, json_of, manifest_of
from influence.run.writer import Writer

REMARKS = ("notes", "warnings", "order_only")
"""Kinds of sentences: how scores were computed, what makes them something else than nats, what takes their unit."""


class Draft(Writer):
    """A run under way, in a hidden folder beside its final place; a killed precompute resumes from it.

    A file counts only once `mark` has recorded the step that wrote it, so a half-written file is never taken
    for a finished one. Its size and checksum are in the journal: a step whose files are not what they were (a power
    cut, a disk) is forgotten when the draft is resumed, and all later steps with it. `finish` renames the folder to
    its final name, and `add` puts further parts into it. What later steps need but the run does not is kept under
    `work/` until no part is pending.

    Attributes:
        finished: whether the folder has its final name.
        lost: a sentence that says which steps were forgotten; empty if none was.
    """

    def __init__(self, root: str | os.PathLike[str], name: str, settings: Mapping[str, Any]):
        """Resume the draft of `name`, or begin it.

        Raises:
            RunError: `name` is no file name, `root` cannot be written, or the draft was begun with other `settings`.
        """
        refuse_name(name, "a run's")
        self.final = Path(root) / name
        self.finished = (self.final / JOURNAL_FILE).is_file()
        super().__init__(self.final if self.finished else self.final.with_name(draft_name(name)))
        self.journal = Journal(json.loads(json.dumps(settings)))
        self.lost = ""
        self._heard: list[Mapping[str, Any]] = []
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with self.locked():  # beginning anew deletes what is there, which must not be another process's work
                self._resume()
        except OSError as error:
            why = REMEDIES.get(error.errno or 0, f"{error.strerror}. Choose another folder with --runs")
            raise RunError(f"Cannot write runs to {root}: {why}.") from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise RunError(
                f"The unfinished run {self.folder} is damaged ({error}). Delete it and start again."
            ) from error

    def _resume(self) -> None:
        if os.path.lexists(self.folder):
            own_folder(self.folder)
        sweep(self.folder)
        if (self.folder / JOURNAL_FILE).is_file():
            begun = Journal.read(self.folder)
            if begun.settings != self.settings and begun.steps:
                self._refuse_others(begun.settings)
            if self.finished and not begun.steps:
                raise ValueError("its journal lists no steps")
            if begun.steps:
                self.journal = begun
                self._forget_lost()
        if not self.steps:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()

    def _refuse_others(self, begun: Mapping[str, Any]) -> None:
        other = next(key for key in {**begun, **self.settings} if begun.get(key) != self.settings.get(key))
        raise RunError(
            f"An unfinished run {self.final} was begun with other settings: {other} is {begun.get(other)!r}, asked for "
            f"{self.settings.get(other)!r}. Finish it with its own command, choose another --name, or delete "
            f"{self.folder}."
        )

    def _forget_lost(self) -> None:
        """Forget the first step of which a file is not what it was, and all later ones, with their work."""
        # What run.json lists was verified when the run was opened, and is never written again.
        found = self.journal.lost(self.folder, read_manifest(self.final).files if self.finished else ())
        if found is None:
            return
        step, file = found
        before = len(self.steps)
        self.journal.cut(step)
        self.lost = (
            f"Run {self.final.name}: {file} is not what was written (a power cut, or a fault of the disk). Step "
            f"{step!r} and the {before - len(self.steps) - 1} after it are computed again."
        )
        known = self.journal.checksums
        for path in (self.folder / "work").rglob("*"):
            if path.is_file() and path.relative_to(self.folder).as_posix() not in known:
                path.unlink()

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the draft was begun with."""
        return self.journal.settings

    @property
    def steps(self) -> Mapping[str, Any]:
        """Finished step -> what `mark` was told of it."""
        return self.journal.steps

    @property
    def remarks(self) -> Mapping[str, list[str]]:
        """What finished steps have told of the scores, by the kinds of `REMARKS`."""
        return self.journal.remarks

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Hold the draft for this process; a second writer is refused instead of mixed in."""
        return locked(self.final)

    def mark(self, step: str, record: Any = None) -> None:
        """Record that `step` is finished, with what later steps or the manifest need from it (JSON).

        What was written since the last mark is on the disk before the journal says so.
        """
        self.journal.remark(
            {
                kind: sorted({*self.remarks.get(kind, ()), *(told for heard in self._heard for told in heard[kind])})
                for kind in REMARKS
            }
        )
        self.journal.end(step, record, digests_of(self.folder, self._written))
        self.journal.write(self.folder)
        self._written.clear()

    def discard(self, steps: Sequence[str], folder: str) -> None:
        """Delete a folder of files that `steps` wrote, and which no later one needs."""
        self.journal.release(steps)
        self.journal.write(self.folder)
        shutil.rmtree(self.folder / folder, ignore_errors=True)

    def drop(self, steps: Sequence[str], folder: str) -> None:
        """Take steps out of the journal, and delete the folder of what they wrote: a later one has all of it."""
        self.journal.forget(steps)
        self.journal.write(self.folder)
        shutil.rmtree(self.folder / folder, ignore_errors=True)

    def forget(self, steps: Sequence[str]) -> None:
        """Take steps out of the journal, as if they were not finished."""
        self.journal.forget(steps)

    def hear(self, remarks: Mapping[str, Any]) -> None:
        """Keep with each `mark` what `remarks` hold by then: a run that is taken up again tells it too.

        Args:
            remarks: one of `REMARKS` -> sentences, which may become more.
        """
        self._heard.append(remarks)

    def finish(self, manifest: Manifest, pending: Sequence[str] = ()) -> Run:
        """Write run.json with every file's checksum, then give the folder its final name.

        Args:
            manifest: of the run, without its name, settings and files, which are known here.
            pending: parts that `add` will put into the finished run.

        Raises:
            RunError: another run is in the way, or a file is missing that `manifest` speaks of.
        """
        named = dataclasses.replace(manifest, name=self.final.name, settings=self.settings)
        complete = self._write_manifest(named, pending)
        self.journal.write(self.folder, whole=True)  # its steps are of files that are never written again
        try:
            self.folder.rename(self.final)
            sync_folder(self.final.parent)
        except OSError as error:
            raise RunError(f"The finished run cannot be moved to {self.final}: {error.strerror}.") from error
        self.folder, self.finished = self.final, True
        return self._as_read(complete)

    def add(self, part: str, changes: Mapping[str, Any]) -> Run:
        """Put a pending part, whose files are written, into the finished run, in one move of run.json.

        Args:
            part: as `finish` was told.
            changes: fields of the manifest that it changes.

        Raises:
            RunError: run.json cannot be read.
        """
        before = read_manifest(self.final)
        pending = [other for other in before.pending if other != part]
        return self._as_read(self._write_manifest(dataclasses.replace(before, **changes), pending))

    def _write_manifest(self, manifest: Manifest, pending: Sequence[str]) -> Manifest:
        """run.json with the checksums of all files that are not of a pending part; one that is known stays."""
        written = {name: digest.sha256 for name, digest in digests_of(self.folder, self._written).items()}
        known = self.journal.checksums | written
        ready = sorted(n for n in known if COMPUTED_FILE.fullmatch(n) and not belongs_to(n, pending))
        files = {**manifest.files, **{name: known[name] for name in ready if name not in manifest.files}}
        told = json_of(dataclasses.replace(manifest, pending=tuple(pending), files=files))
        parsed = manifest_of(told, self.folder)
        write_json(self.path(MANIFEST_FILE), told)
        self._written.clear()
        return parsed

    def _as_read(self, manifest: Manifest) -> Run:
        """The run as it stands; when nothing is pending, what only the draft needed is deleted."""
        if not manifest.pending:
            discard_work(self.final)
        return Run(self.final, manifest)


def discard_work(folder: Path) -> None:
    """Delete what only the computation of a run needed, which is complete."""
    shutil.rmtree(folder / "work", ignore_errors=True)
    (folder / JOURNAL_FILE).unlink(missing_ok=True)
