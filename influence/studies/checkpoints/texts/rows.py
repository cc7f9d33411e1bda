"""Rows of the files that checkpoints were trained on: their texts, labels, prompts and second texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from influence.errors import StudyError, printable
from influence.studies.text_files.columns import MAX_CHARACTERS, MAX_TEXTS, Columns
from influence.studies.text_files.formats import Texts, name_list, short_repr
from influence.studies.text_files.labels import plain_text
from influence.studies.text_files.opening import open_texts
from influence.studies.text_files.sampling import reservoir

KINDS = ("text", "label", "prompt", "pair", "title", "source")


@dataclass(frozen=True)
class Item:
    """A row of data.

    Attributes:
        row: its number in the file, from 0.
        place: where it stands, for messages.
        text: a text, or a list of words.
        label: as the file has it; None: it has none.
        prompt: what the text is the completion of; "" for none.
        pair: the second text of a pair; "" for none.
        title, source: as of `Corpus`.
    """

    row: int
    place: str
    text: Any
    label: Any = None
    prompt: str = ""
    pair: str = ""
    title: str = ""
    source: str = ""

    @property
    def size(self) -> int:
        """Characters, or words of a list."""
        return len(self.text) + len(self.prompt) + len(self.pair)


@dataclass
class Rows:
    """The rows of a file.

    Attributes:
        items: in the order of the file.
        named: kind of column -> its name.
        classes: names of the label's classes, where the file tells them.
        notes: sentences about rows that were left out.
    """

    items: Sequence[Item]
    named: Mapping[str, str] = field(default_factory=dict)
    classes: Sequence[str] = ()
    notes: list[str] = field(default_factory=list)


def rows_of(
    path: Path, columns: Columns, needed: Sequence[str] = (), sample: int | None = None, seed: Sequence[int] = (0,)
) -> Rows:
    """Every row of a file that has a text, or a sample of them.

    Args:
        path: a file of texts, or a folder that `datasets` saved.
        columns: which hold what. A file without a column that is named there may have the default one.
        needed: kinds without which it is of no use, beside the text.
        sample: at most so many, drawn by the seed; None: all.
        seed: of the draw.

    Raises:
        StudyError: the file is not in order, has not the columns, no text, or more than can be taken whole.
    """
    file = open_texts(path)
    named = _named(file, columns, needed)
    reader = _Reader(file, named)
    items, total = _whole(file, reader) if sample is None else reservoir(reader, sample, list(seed))
    if not items:
        raise StudyError(f"{printable(path)} holds no text in {named['text'] or 'its lines'!r}.")
    found = Rows(items, named, getattr(file, "classes", {}).get(named.get("label"), ()))
    name = printable(path.name)
    if reader.empty:
        found.notes.append(f"Empty texts left out of {name}: {reader.empty:,}, the first at {reader.first}.")
    if len(items) < total:
        found.notes.append(f"{len(items):,} of the {total:,} texts of {name} were taken, drawn by the seed.")
    return found


def _whole(file: Texts, reader: _Reader) -> tuple[list[Item], int]:
    items, characters = [], 0
    for item in reader:
        items.append(item)
        characters += item.size
        if len(items) > MAX_TEXTS or characters > MAX_CHARACTERS:
            raise StudyError(
                f"{printable(file.path)} holds more than is taken whole: {MAX_TEXTS:,} texts and {MAX_CHARACTERS:,} "
                "characters. Take some of them: --sample 20000 draws so many by the seed."
            )
    return items, len(items)


class _Reader:
    """Items of a file, one after another; those without a text are counted."""

    def __init__(self, file: Texts, named: Mapping[str, str]):
        self.file, self.named = file, named
        self.empty, self.first = 0, ""

    def __iter__(self) -> Iterator[Item]:
        for row, values in self.file.rows(list(self.named.values()), texts=False):
            found = dict(zip(self.named, values, strict=True))
            text = found.pop("text")
            if not text or (isinstance(text, str) and text.isspace()):
                self.empty, self.first = self.empty + 1, self.first or self.file.spot(row)
                continue
            place, label = self.file.place(row), found.pop("label", None)
            if not isinstance(text, str) and not (isinstance(text, list) and all(isinstance(w, str) for w in text)):
                raise StudyError(f"{place}: {short_repr(text)} is no text, and no list of words.")
            yield Item(row, place, text, label, **{kind: plain_text(value) for kind, value in found.items()})


def _named(file: Texts, columns: Columns, needed: Sequence[str]) -> dict[str, str]:
    """Kind -> name of its column, where the file has one."""
    if file.plain:
        if needed:
            raise StudyError(
                f"{printable(file.path)} is plain lines, which have no column for the {needed[0]}; give .csv, .jsonl, "
                ".parquet or a saved dataset."
            )
        return {"text": ""}
    names = {}
    for kind in KINDS:
        wanted = getattr(columns, kind) or kind
        told = getattr(columns, kind) is not None or kind in ("text", *needed)
        fitting = file.columns_called(wanted, everywhere=told) or file.columns_called(kind, everywhere=False)
        fitting = [name for name in fitting if name in file.columns]
        if len(fitting) > 1:
            raise StudyError(f"{printable(file.path)} has {len(fitting)} columns {wanted!r}; give each its own name.")
        if fitting:
            names[kind] = fitting[0]
        elif kind in ("text", *needed):
            raise StudyError(
                f"{printable(file.path)} has no column {wanted!r}; it has {name_list(file.columns)}. Say which holds "
                f"the {kind} with --{kind}-column NAME.{file.hint}"
            )
    return names
