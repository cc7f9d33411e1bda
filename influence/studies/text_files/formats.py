"""Rows of a file of texts, one after another: CSV, TSV, Parquet, JSON lines, plain lines.

A file is never held whole, so that its size does not matter; what is not in order is named with file, line and value.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from influence.errors import StudyError
from influence.studies.images.picture_files import printable

Row = tuple[int, list[Any]]
"""Number of a row, from 0, and its values in the requested columns."""

MAX_LINE = 2**24
"""Longest line or field in characters. A longer one means an unclosed quote, or a file of another kind."""
BATCH = 4096
"""Rows of Parquet that are decoded together."""


class Texts:
    """A file of texts.

    Args:
        path: of the file, whose suffix says the format.

    Raises:
        StudyError: there is no such file, it is empty, or of no known format; also later, if it is not in order.
    """

    columns: Sequence[str] = ()
    """Names of the file's columns, in order; none in a file of plain lines."""
    first: ClassVar[int] = 1
    """Lines are counted as editors do, from 1; rows of Parquet, which has no lines, from 0."""
    unit: ClassVar[str] = "line"

    def __init__(self, path: Path):
        self.path = path

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        """Every row's values in `columns`, the text's first; None for a missing value."""
        raise NotImplementedError

    def place(self, number: int) -> str:
        """Where row `number` is, for a message."""
        return f"{printable(self.path)}, {self.spot(number)}"

    def spot(self, number: int) -> str:
        """Where in the file row `number` is."""
        return f"{self.unit} {number + self.first}"

    def unreadable(self, error: BaseException | str) -> StudyError:
        """The error of a file that is damaged as a whole."""
        return StudyError(f"{printable(self.path)} cannot be read as {self.path.suffix}: {error}. Mend or replace it.")


class Delimited(Texts):
    """CSV or TSV with a header: quotes as in RFC 4180, so that a quoted text may hold line ends and the delimiter.

    Rows are counted without the header and blank lines, as `pandas.read_csv` counts them.
    """

    # Python's reader rather than Arrow's: it knows the line that a row stands on and refuses a quote that is never
    # closed, which Arrow takes for the end of the text.

    def __init__(self, path: Path):
        super().__init__(path)
        self.line = 0
        csv.field_size_limit(MAX_LINE)
        with _open_file(path, "") as file:
            self.columns = next(self._records(file), [])
        if not self.columns:
            raise StudyError(f"{printable(path)} has only blank lines; expected a header, and a row for each text.")

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        places = [self.columns.index(name) for name in columns]
        with _open_file(self.path, "") as file:
            records = self._records(file)
            next(records)
            for number, record in enumerate(records):
                if len(record) != len(self.columns):
                    raise StudyError(
                        f"{self.place(number)}: {len(record)} values where the header has {len(self.columns)} columns "
                        f"({name_list(record)}). Texts that hold the delimiter, quotes or line ends must be in quotes."
                    )
                yield number, [record[place] for place in places]

    def spot(self, number: int) -> str:
        """The line that the row last read begins on; a row can have many."""
        return f"line {self.line}"

    def _records(self, file: TextIO) -> Iterator[list[str]]:
        """Header and rows; `self.line` is where each begins."""
        delimiter = "\t" if self.path.suffix.lower() == ".tsv" else ","
        reader = csv.reader(_lines(self.path, file), delimiter=delimiter, strict=True)
        while True:
            self.line = reader.line_num + 1
            try:
                record = next(reader, None)
            except csv.Error as error:
                raise StudyError(
                    f"{self.place(0)}: the row that begins here is no {self.path.suffix[1:].upper()}: {error}. Is a "
                    "quote not closed? Quotes within a quoted text are doubled."
                ) from error
            if record is None:
                return
            if record:  # a blank line is none
                yield record


class Parquet(Texts):
    """A Parquet file, read a few thousand rows at a time."""

    first, unit = 0, "row"

    def __init__(self, path: Path):
        super().__init__(path)
        try:
            # Without `pre_buffer`, which would fetch whole row groups, of which many files have only one.
            self.file = pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
            self.columns = self.file.schema_arrow.names
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self.unreadable(error) from error

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        kind = self.file.schema_arrow.field(columns[0]).type
        if not _of_texts(kind):
            raise StudyError(
                f"{printable(self.path)}: column {columns[0]!r} holds {kind}, expected texts. It has "
                f"{name_list(self.columns)}; say which with --text-column."
            )
        number = 0
        try:
            for batch in self.file.iter_batches(BATCH, columns=list(dict.fromkeys(columns))):
                for values in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                    yield number, list(values)
                    number += 1
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self.unreadable(error) from error


class JsonLines(Texts):
    """JSON lines: an object a line. Blank lines are passed over but counted, so that numbers are those of lines."""

    def __init__(self, path: Path):
        super().__init__(path)
        with _open_file(path, "\n") as file:
            _, found = next(self._objects(file), (0, {}))
        self.columns = list(found)

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        text = columns[0]
        with _open_file(self.path, "\n") as file:
            for number, found in self._objects(file):
                if text not in found:
                    raise StudyError(
                        f"{self.place(number)}: there is no key {text!r}, which holds the text in other lines; it has "
                        f"{name_list(list(found))}."
                    )
                if not isinstance(found[text], str | None):
                    raise StudyError(
                        f"{self.place(number)}: {text!r} is {short_repr(json.dumps(found[text]))}, expected a text."
                    )
                yield number, [found.get(name) for name in columns]

    def _objects(self, file: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in enumerate(_lines(self.path, file)):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
                if "\\u" in line:  # half of a surrogate pair, which JSON can say and no file or tokenizer can hold
                    json.dumps(found, ensure_ascii=False).encode()
            except (ValueError, RecursionError) as error:
                raise StudyError(
                    f"{self.place(number)}: {short_repr(line)} is no JSON ({error}). Expected an object a line, whole, "
                    'such as {"text": "..."}.'
                ) from error
            if not isinstance(found, dict):
                raise StudyError(
                    f"{self.place(number)}: {short_repr(line)} is no object; expected one a line, such as "
                    '{"text": "..."}, and no list around them.'
                )
            yield number, found


class Lines(Texts):
    """Plain lines: each is a text, without its line end. Only LF and CRLF end a line; other controls are data."""

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        with _open_file(self.path, "\n") as file:
            for number, line in enumerate(_lines(self.path, file)):
                yield number, [line.removesuffix("\n").removesuffix("\r")]


FORMATS: dict[str, type[Texts]] = {
    ".csv": Delimited,
    ".tsv": Delimited,
    ".parquet": Parquet,
    ".jsonl": JsonLines,
    ".txt": Lines,
}


def open_texts(path: Path) -> Texts:
    """The file at `path`, in the format that its suffix says.

    Raises:
        StudyError: it is not there, no file, empty, of no known format, or not in order.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is no file" if path.exists() else "does not exist"
        raise StudyError(f"{printable(path)} {what}; expected a file of texts: {', '.join(FORMATS)}.")
    if path.suffix.lower() not in FORMATS:
        raise StudyError(
            f"{printable(path)} has the suffix {path.suffix!r}; files of texts are {', '.join(FORMATS)}. Give it the "
            "one that says what it holds."
        )
    try:
        if path.stat().st_size == 0:
            raise StudyError(f"{printable(path)} is empty; expected texts.")
        made = FORMATS[path.suffix.lower()](path)
    except OSError as error:
        raise StudyError(f"{printable(path)} cannot be read: {error.strerror}.") from error
    return made


def name_list(names: Sequence[Any]) -> str:
    """At most twenty names, shortened, for a message."""
    return ", ".join(map(short_repr, names[:20])) + (" ..." if len(names) > 20 else "")


def short_repr(value: Any) -> str:
    """A value on one line of at most forty characters, for a message."""
    text = value.strip() if isinstance(value, str) else str(value)
    return repr(text if len(text) <= 40 else text[:40] + "...")


def _of_texts(kind: pa.DataType) -> bool:
    held = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(
        pa.types.is_string(held) or pa.types.is_large_string(held) or pa.types.is_string_view(held) or held == pa.null()
    )


def _open_file(path: Path, newline: str) -> TextIO:
    return path.open(encoding="utf-8-sig", newline=newline)  # with or without a BOM


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """Lines with their line ends.

    Raises:
        StudyError: a line is longer than `MAX_LINE`, or the file is no UTF-8.
    """
    number = 0
    try:
        while line := file.readline(MAX_LINE):
            number += 1
            if len(line) == MAX_LINE:
                raise StudyError(
                    f"{printable(path)}, line {number} has more than {MAX_LINE:,} characters. Is it {path.suffix}?"
                )
            yield line
    except UnicodeDecodeError as error:
        raise StudyError(_not_utf8(path)) from error


def _not_utf8(path: Path) -> str:
    """Message with the position of the first byte that is no UTF-8; the decoder's own is relative to a block."""
    decoder, before = codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
        while True:
            block = file.read(2**20)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                at = before - pending + error.start
                found = f"is 0x{error.object[error.start]:02x}, {error.reason}"
                break
            before += len(block)
    return (
        f"{printable(path)} is no UTF-8: byte {at:,} (from 0) {found}. Save it as UTF-8, or convert it: iconv -f "
        f"ENCODING -t UTF-8 (often CP1252 or UTF-16)."
    )
