"""Notes and tags on examples and predictions, kept beside the run as lines of JSON; its form is in CONTRACT.md.

Lines are only ever added: the last one about an item holds, one without tags and text takes its note back. So two
visitors who write at once both keep what they wrote, and a damaged line costs that line alone.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import re
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
import streamlit as st

from explorer.runs import queries
from influence.errors import RunError, printable
from influence.run import Run, lock_of, parsed_json, plain_file, read_plain, remedy, sync_folder

CORRECT = "correct"
"""Tag of an example that was looked at and is kept as it is."""
MISLABELLED = "mislabelled"
TAGS = (MISLABELLED, "duplicate", "shortcut", "unclear", CORRECT)
LONGEST_NOTE = 2000
"""Characters of a note."""
LARGEST_FILE = 8 * 2**20
"""Bytes of a file of notes that is read or added to."""
LOCK_SECONDS = 5
"""Seconds to wait for another visitor's writing."""

_VIEW = re.compile(r"\./[a-z-]*\?[A-Za-z0-9=&%._~+,-]{1,4000}")
"""A link into this app, and nothing else that a browser could follow."""


@dataclasses.dataclass(frozen=True)
class Note:
    """Tags and a text about one item."""

    table: str
    """A stage, or `queries.QUERIES`."""
    id: int
    tags: tuple[str, ...] = ()
    text: str = ""
    view: str = ""
    """Link to the view that it was written in, relative to the app; empty if there is none."""
    created: str = ""
    """When the run was computed: a run of the same name may hold other examples later."""
    time: str = ""

    @property
    def empty(self) -> bool:
        return not self.tags and not self.text

    @property
    def said(self) -> str:
        """Tags and text in one line."""
        return ": ".join(filter(None, (", ".join(self.tags), self.text)))


@dataclasses.dataclass(frozen=True)
class Notes:
    """A run's notes, newest last, by table and id; and the numbers of the lines that are none."""

    latest: dict[tuple[str, int], Note] = dataclasses.field(default_factory=dict)
    damaged: tuple[int, ...] = ()

    def of(self, table: str) -> dict[int, Note]:
        return {number: note for (own, number), note in self.latest.items() if own == table}


def file(run: Run) -> Path:
    """The file of a run's notes. It lies beside the run's folder, which is verified and never written."""
    return run.path.with_name(f"{run.path.name}.notes.jsonl")


def read(run: Run) -> Notes:
    """All notes of a run; none if there is no file.

    Raises:
        RunError: the file cannot be read, or is too large.
    """
    path = file(run)
    try:
        stat = path.lstat()
        if stat.st_size > LARGEST_FILE:
            raise _too_large(path)
        return _read(str(path), stat.st_size, stat.st_mtime_ns)
    except FileNotFoundError:
        return Notes()
    except OSError as error:
        raise RunError(
            f"The notes in {path} cannot be read: {error.strerror}. They are left as they are; mend that to see them."
        ) from error


@st.cache_resource(max_entries=8, show_spinner=False)
def _read(path: str, size: int, modified: int) -> Notes:  # size and time are part of the cache's key
    latest: dict[tuple[str, int], Note] = {}
    damaged = []
    for number, line in enumerate(read_plain(Path(path), LARGEST_FILE).split(b"\n"), start=1):
        if not line.strip():
            continue
        note = parse(line)
        if note is None:
            damaged.append(number)
            continue
        latest.pop((note.table, note.id), None)  # so that the newest stands last
        if not note.empty:
            latest[note.table, note.id] = note
    return Notes(latest, tuple(damaged))


def parse(line: bytes) -> Note | None:
    """The note on a line; None if it holds none."""
    try:
        said: Any = parsed_json(line)
    except ValueError:
        return None
    if not isinstance(said, dict) or not isinstance(said.get("table"), str) or type(said.get("id")) is not int:
        return None
    tags = said.get("tags", [])
    words = [said.get(name, "") for name in ("text", "view", "created", "time")]
    if not isinstance(tags, list) or not all(isinstance(word, str) for word in (*tags, *words)):
        return None
    # What cannot be seen may be half of a character, which nothing could show or write.
    table, text, view, created, time = (printable(word, kept="\n\r\t") for word in (said["table"], *words))
    known = tuple(tag for tag in TAGS if tag in tags)
    return Note(table, said["id"], known, text[:LONGEST_NOTE], view if _VIEW.fullmatch(view) else "", created, time)


def write(run: Run, note: Note) -> None:
    """Add a note to the run's file; it is on the disk when this returns.

    Raises:
        RunError: it is too long, or the file cannot be written; the note is not kept then.
    """
    if len(note.text) > LONGEST_NOTE:
        raise RunError(f"A note has at most {LONGEST_NOTE:,} characters, this one has {len(note.text):,}. Shorten it.")
    path = file(run)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    said = dataclasses.asdict(note) | {"created": run.manifest.created, "time": now}
    line = json.dumps(said, ensure_ascii=True).encode() + b"\n"
    try:
        with lock_of(path.with_name(f".{path.name}.lock"), LOCK_SECONDS):
            _append(path, line)
    except filelock.Timeout:
        raise RunError(f"Somebody else has been writing {path} for {LOCK_SECONDS} s. Save the note again.") from None
    except OSError as error:
        raise RunError(f"The note cannot be kept in {path}: {remedy(error)}, and save it again.") from error


def _append(path: Path, line: bytes) -> None:
    with open(path, "ab+", opener=plain_file) as kept:
        size = kept.seek(0, os.SEEK_END)
        if size + len(line) > LARGEST_FILE:
            raise _too_large(path)
        if size:
            # What was cut off in the middle of a line must not take the next note with it.
            kept.seek(size - 1)
            line = line if kept.read(1) == b"\n" else b"\n" + line
        kept.write(line)
        kept.flush()
        os.fsync(kept.fileno())
    if not size:
        sync_folder(path.parent)


def _too_large(path: Path) -> RunError:
    return RunError(
        f"The notes in {path} have more than {LARGEST_FILE // 2**20} MB, which is not read or added to. "
        "Move the file away to begin another; nothing in it is lost."
    )


def rows(run: Run, notes: Notes) -> pd.DataFrame:
    """The notes as a table, newest first: what they are about, what they say, and since when."""
    table = pd.DataFrame(
        [
            {
                "of": note.table,
                "id": note.id,
                "label": _label(run, note),
                "tags": ", ".join(note.tags),
                "note": note.text,
                "written": note.time,
                "run": run.name,
                "of_this_run": current(run, note),
                "view": note.view,
            }
            for note in reversed(notes.latest.values())
        ],
        columns=["of", "id", "label", "tags", "note", "written", "run", "of_this_run", "view"],
    )
    return table


def current(run: Run, note: Note) -> bool:
    """Whether it was written about this very run, not about an earlier one of its name."""
    return note.created == run.manifest.created


def item(run: Run, note: Note) -> pd.Series | None:
    """The row that a note is about; None if this run has none of that id."""
    if note.table not in (queries.QUERIES, *run.stages):
        return None
    table = queries.table_of(run, note.table)
    found = (table["id"] == note.id).to_numpy().nonzero()[0]
    return table.iloc[int(found[0])] if len(found) else None


def _label(run: Run, note: Note) -> str:
    row = item(run, note)
    return "" if row is None else str(row["label"])
