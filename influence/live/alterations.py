"""Alterations of a run's training data, as a person states them: by ids, names of classes, words, parts of pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from influence.errors import StudyError, printable

LEAVE_OUT, RELABEL, UPWEIGHT, MASK, STRIKE, ADD = "leave out", "relabel", "upweight", "mask", "strike", "add"
TAKE_BACK, SWITCH_OFF = "take back", "switch off"
KINDS = (LEAVE_OUT, RELABEL, UPWEIGHT, MASK, STRIKE, ADD, TAKE_BACK, SWITCH_OFF)
SEVERAL = (STRIKE, TAKE_BACK)
"""Kinds of which there may be several of one example."""
NONE = -1
"""In place of an id: the alteration is of no example that there is."""
STEPS = 3
"""Newton steps beyond the first order, by which alterations of a run are predicted together."""


@dataclass(frozen=True)
class Alteration:
    """What is changed of one example, or which are added.

    Attributes:
        kind: `LEAVE_OUT`, `RELABEL`, `UPWEIGHT`, `MASK`, `STRIKE`, `ADD`, `TAKE_BACK` or `SWITCH_OFF`.
        stage: whose example.
        id: of the example, as the run's table has it. Of "add": of the query that is added; with a path the place among
            the examples there, `NONE` for all of them. Of "switch off" `NONE`.
        value: of "relabel" the class's name, of "upweight" what is added to the weight 1, of "mask" (left, top, width,
            height) in pixels, of "strike" a word or phrase, of "add" (path, digest of what is there), or None where a
            query is added; of "take back" the rule that takes its vote on the example back, of "switch off" the one
            that takes back all its votes.
    """

    kind: str
    stage: str
    id: int
    value: Any = None

    def __str__(self) -> str:
        told = {
            RELABEL: f" as {self.value!r}",
            UPWEIGHT: f" to 1{self.value:+g}" if self.kind == UPWEIGHT else "",
            MASK: f" {','.join(map(str, self.value))}" if self.kind == MASK else "",
            STRIKE: f" {self.value!r}",
            TAKE_BACK: f" the vote of {self.value!r}",
            SWITCH_OFF: f" {self.value!r}",
        }
        return f"{self.kind}{told.get(self.kind, '')}"


def addition(stage: str, path: Path) -> Alteration:
    """More examples for a stage: those at `path`, as `pool` reads them.

    Raises:
        StudyError: it cannot be read.
    """
    return Alteration(ADD, stage, NONE, (str(path.resolve()), digest(path)))


def digest(path: Path) -> str:
    """Of the contents of a file, or of all files of a folder with their names."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    found = hashlib.sha256()
    try:
        for file in files:
            found.update(f"{file.relative_to(path)}\0".encode(errors="surrogateescape"))
            found.update(hashlib.sha256(file.read_bytes()).digest())
    except OSError as error:
        raise StudyError(f"{printable(path)} cannot be read: {error.strerror}.") from error
    return found.hexdigest()[:16]


def as_json(alterations: Iterable[Alteration]) -> str:
    """The same alterations, in any order, as one text."""
    return json.dumps(sorted(([a.stage, a.id, a.kind, a.value] for a in alterations), key=str))


def from_json(text: str) -> list[Alteration]:
    """The alterations that `as_json` wrote; none, if the text is another."""
    try:
        return [_alteration(*parts) for parts in json.loads(text)]
    except (TypeError, ValueError, RecursionError):
        return []


def _alteration(stage: Any, name: Any, kind: Any, value: Any) -> Alteration:
    if not isinstance(stage, str) or type(name) is not int or kind not in KINDS:
        raise ValueError(kind)
    return Alteration(kind, stage, name, tuple(value) if isinstance(value, list) else value)
