"""Tables of what scores are about: files with a row an item, or folders of pictures. No row is left out or moved."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from influence.errors import ScoresError, printable
from influence.studies.images.class_folders import class_folders
from influence.studies.images.picture_files import png, read_picture
from influence.studies.text_files.formats import Texts, name_list, short_repr
from influence.studies.text_files.labels import NO_CLASS, label_text, plain_text
from influence.studies.text_files.opening import open_texts

SHOWN = ("text", "image", "title", "label")
"""Columns of which a table needs one: what is shown of an item."""
WORDS = ("text", "title", "source")
NUMBERS = ("loss",)
PROMPT, COMPLETION = "prompt", "completion"
LARGEST = 2**30
"""Characters and bytes of pictures of a table, which readers hold in memory."""
_WHOLE = re.compile(r"-?[0-9]{1,18}")


def read_table(path: Path, columns: dict[str, str] | None = None) -> pd.DataFrame:
    """The items of a file (.csv, .tsv, .jsonl, .parquet, .txt) or a folder of pictures, in its order.

    Args:
        path: of the file; or of a folder with a folder of pictures for each class, or with pictures only, which are in
            the order of their names.
        columns: names of columns that are called otherwise than `id`, `text`, `label`, `title`, `source`, `image` (the
            path of a picture from the table's folder, or its bytes) and `loss`, by these names.

    Returns:
        Columns as a run's tables have them: `id` (the row's number where there is none), `label`, and what there is.

    Raises:
        ScoresError: it has no rows, an id twice or none, nothing that can be shown, or is too large.
        StudyError: the file, or a picture, cannot be read.
    """
    name = printable(path)
    found = _of_folder(path) if path.is_dir() else _of_file(path, columns or {})
    if not len(found):
        raise ScoresError(f"{name} has no rows; expected one for every item that the scores are about.")
    twice = found["id"][found["id"].duplicated()]
    if len(twice):
        raise ScoresError(f"{name} has the id {twice.iloc[0]} more than once. Every item needs its own.")
    return found


def _of_file(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    file = open_texts(path)
    names = {"text": ""} if file.plain else _named(file, columns)
    pairs = "text" not in names and PROMPT in names and COMPLETION in names
    if not pairs and not any(each in names for each in SHOWN):
        raise ScoresError(
            f"{printable(path)} has {name_list(list(file.columns))}; expected a column of what is shown: "
            f"{', '.join(SHOWN)}, or {PROMPT} and {COMPLETION}. Say which holds the texts with --text-column NAME."
        )
    rows: dict[str, list[Any]] = {kind: [] for kind in ("id", *names)}
    size = 0
    for number, values in file.rows(list(names.values()), texts=False):
        found = dict(zip(names, values, strict=True))
        where = file.place(number)
        item = {kind: _value(kind, value, where, path.parent) for kind, value in found.items()}
        item.setdefault("id", len(rows["id"]))
        size += sum(len(value) for value in item.values() if isinstance(value, str | bytes))
        if size > LARGEST:
            raise ScoresError(
                f"{printable(path)} holds more than {LARGEST:,} characters. Shorten the texts that are shown."
            )
        for kind, value in item.items():
            rows[kind].append(value)
    return _as_table(rows)


def _as_table(rows: dict[str, list[Any]]) -> pd.DataFrame:
    """Columns in the kinds that a run's tables have; a prompt and its completion become one text."""
    if "text" not in rows and PROMPT in rows and COMPLETION in rows:
        rows["text"] = [before + after for before, after in zip(rows[PROMPT], rows[COMPLETION], strict=True)]
        rows["prompt_end"] = [len(before) for before in rows[PROMPT]]
    table = pd.DataFrame({kind: values for kind, values in rows.items() if kind not in (PROMPT, COMPLETION)})
    table["id"] = table["id"].astype("int64")
    table["label"] = table.get("label", "")
    kinds = {"loss": "float32", "prompt_end": "int32"}
    return table.astype({kind: each for kind, each in kinds.items() if kind in table})


def refuse_unknown(paths: Sequence[Path], columns: dict[str, str]) -> None:
    """Raise ScoresError if a column that was named is in none of the tables."""
    known = {str(name).strip() for path in paths if not path.is_dir() for name in open_texts(path).columns}
    for column in columns.values():
        if column.strip() not in known:
            raise ScoresError(f"No table has a column {column!r}; they have {name_list(sorted(known))}.")


def _named(file: Texts, columns: dict[str, str]) -> dict[str, str]:
    """Kind of a column -> its name in the file: the one that was given, if it is there, else the usual one.

    Raises:
        ScoresError: two have one name.
    """
    names = {}
    for kind in ("id", *WORDS, "label", "image", *NUMBERS, PROMPT, COMPLETION):
        called = (file.columns_called(name, everywhere=False) for name in (columns.get(kind, kind), kind))
        fitting = next((found for found in called if found and found[0] in file.columns), [])
        if len(fitting) > 1:
            raise ScoresError(f"{printable(file.path)} has several columns {fitting[0]!r}; give each its own name.")
        if fitting:
            names[kind] = fitting[0]
    return names


def _value(kind: str, value: Any, where: str, folder: Path) -> Any:
    if kind == "image":
        return _picture(value, where, folder)
    if isinstance(value, list | dict | bytes):
        raise ScoresError(f"{where}: {short_repr(value)} is a {type(value).__name__}, expected a {kind}.")
    text = plain_text(value)
    if kind == "id":
        whole = label_text(text)
        if not _WHOLE.fullmatch(whole):
            raise ScoresError(
                f"{where}: the id is {short_repr(value)}, expected a whole number. Without a column id, rows are "
                "numbered from 0."
            )
        return int(whole)
    if kind in NUMBERS:
        try:
            return float(text or "nan")
        except ValueError as error:
            raise ScoresError(f"{where}: the {kind} is {short_repr(value)}, expected a number.") from error
    if kind == "label":
        label = label_text(text)
        return "" if label.casefold() in NO_CLASS else label
    return text


def _picture(value: Any, where: str, folder: Path) -> bytes:
    """A small PNG of a picture that is given by its path, its bytes, or both as `datasets` does."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return png(read_picture(Path(where), io.BytesIO(value)))
    if not isinstance(value, str) or not value:
        raise ScoresError(f"{where}: the image is {short_repr(value)}, expected the path of a picture, or its bytes.")
    return png(read_picture(folder / value))


def _of_folder(root: Path) -> pd.DataFrame:
    files = list(_pictures(root))
    return pd.DataFrame(
        {
            "id": range(len(files)),
            "label": [label for label, _ in files],
            "image": [png(read_picture(file)) for _, file in files],
            "source": [printable(file.relative_to(root)) for _, file in files],
        }
    )


def _pictures(root: Path) -> Iterator[tuple[str, Path]]:
    """(label, file) in the order of classes and names; of a folder without folders all labels are ""."""
    inside: Sequence[Path] = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    if any(entry.is_dir() for entry in inside):
        for label, files in class_folders(root).items():
            yield from ((label, file) for file in files)
    else:
        yield from (("", file) for file in inside)
