"""Rows of a file of texts, one after another: CSV, TSV, Parquet, JSON lines, plain lines.

A file is never held whole, so that its size does not matter; what is not in order is named with file, line and value.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from influence.errors import StudyError, printable
from influence.studies.text_files.encoding import not_utf8
from influence.studies.text_files.packed import DAMAGED, damaged, open_bytes, suffix_of

Row = tuple[int, list[Any]]
"""Number of a row, from 0, and its values in the requested columns."""

MAX_LINE = 2**24
"""Longest line or field in characters. A longer one means an unclosed quote, or a file of another kind."""
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n")
"""What spreadsheets may write above the header."""
SEPARATORS = ",;\t|"
"""What may stand between the columns of a CSV or TSV; the header says which does."""
INVISIBLE = " \t\n\r\xa0\u200b\ufeff"
"""Characters around a column's name that cannot be seen."""
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
    hint: str = ""
    """What to look at, where a column is not found."""
    plain: bool = False
    """Whether each line is a text, without columns."""
    same_columns: ClassVar[bool] = True
    """Whether every row has the same columns."""

    def __init__(self, path: Path):
        self.path = path

    def rows(self, columns: Sequence[str], texts: bool = True) -> Iterator[Row]:
        """Every row's values in `columns`, with `texts` the text's first; None for a missing value."""
        raise NotImplementedError

    def columns_called(self, name: str, everywhere: bool) -> list[str]:
        """Columns of that name, blanks around it aside.

        Args:
            name: of the column.
            everywhere: whether to look through the whole file, where it may have more than `columns`.
        """
        exact = [each for each in self.columns if each == name]
        return exact or [each for each in self.columns if each.strip(INVISIBLE) == name.strip(INVISIBLE)]

    def place(self, number: int) -> str:
        """Where row `number` is, for a message."""
        return f"{printable(self.path)}, {self.spot(number)}"

    def spot(self, number: int) -> str:
        """Where in the file row `number` is."""
        return f"{self.unit} {number + self.first}"

    def unreadable(self, error: BaseException | str) -> StudyError:
        """The error of a file that is damaged as a whole."""
        return StudyError(
            f"{printable(self.path)} cannot be read as {suffix_of(self.path)}: {error}. Mend or replace it."
        )


class Delimited(Texts):
    """CSV or TSV with a header: quotes as in RFC 4180, so that a quoted text may hold line ends and the delimiter.

    Rows are counted without the header and blank lines, as `pandas.read_csv` counts them. Where the header is not
    separated as the suffix says, but by a semicolon (as spreadsheets do), a tab or a bar, the rows are too.
    """

    # Python's reader rather than Arrow's: it knows the line that a row stands on and refuses a quote that is never
    # closed, which Arrow takes for the end of the text.

    hint = " The first row must hold the names of the columns, with commas, semicolons, tabs or bars between them."

    def __init__(self, path: Path):
        super().__init__(path)
        self.line, self.blanks = 0, False
        csv.field_size_limit(MAX_LINE)
        with _open_file(path, "") as file:
            said = _SEPARATOR_LINE.fullmatch(next(_lines(path, file), ""))
        self.above = int(said is not None)
        self.delimiter = said[1] if said else self._delimiter("\t" if suffix_of(path) == ".tsv" else ",")
        self.blanks = any(name.startswith(" ") for name in self._header(self.delimiter)[1:])
        self.columns = self._header(self.delimiter)
        if not self.columns:
            raise StudyError(f"{printable(path)} has only blank lines; expected a header, and a row for each text.")

    def _delimiter(self, usual: str) -> str:
        """`usual` if it separates names in the header, else what separates it into most."""
        counts = {}
        for each in dict.fromkeys((usual, *SEPARATORS)):
            try:
                counts[each] = len(self._header(each))
            except StudyError:  # something follows a closing quote, perhaps another delimiter
                counts[each] = 0
            if counts[usual] > 1:
                break
        return max(counts, key=lambda each: counts[each])

    def _header(self, delimiter: str) -> list[str]:
        with _open_file(self.path, "") as file:
            return next(self._records(file, delimiter), [])

    def rows(self, columns: Sequence[str], texts: bool = True) -> Iterator[Row]:
        places = [self.columns.index(name) for name in columns]
        with _open_file(self.path, "") as file:
            records = self._records(file, self.delimiter)
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

    def _records(self, file: TextIO, delimiter: str) -> Iterator[list[str]]:
        """Header and rows; `self.line` is where each begins."""
        lines = itertools.islice(_lines(self.path, file), self.above, None)
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=self.blanks, strict=True)
        while True:
            self.line = self.above + reader.line_num + 1
            try:
                record = next(reader, None)
            except csv.Error as error:
                raise StudyError(
                    f"{self.place(0)}: the row that begins here is no {suffix_of(self.path)[1:].upper()}: {error}. Is "
                    "a quote not closed? Quotes within a quoted text are doubled."
                ) from error
            if record is None:
                return
            if len(record) > 1 or (record and (record[0].strip() or len(self.columns) == 1)):  # a blank line is none
                yield record


class Parquet(Texts):
    """A Parquet file, read a few thousand rows at a time. It is open only while it is read: a folder may hold many."""

    first, unit = 0, "row"

    def __init__(self, path: Path):
        super().__init__(path)
        try:
            with self._opened() as file:
                self.schema = file.schema_arrow
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self.unreadable(error) from error
        self.columns = self.schema.names

    def rows(self, columns: Sequence[str], texts: bool = True) -> Iterator[Row]:
        kind = self.schema.field(columns[0]).type
        if texts and not of_texts(kind):
            raise StudyError(
                f"{printable(self.path)}: column {columns[0]!r} holds {kind}, expected texts. It has "
                f"{name_list(self.columns)}; say which with --text-column."
            )
        number = 0
        try:
            with self._opened() as file:
                if file.schema_arrow != self.schema:
                    raise StudyError(f"{printable(self.path)} has got other columns while it was read. Begin again.")
                for batch in file.iter_batches(BATCH, columns=list(dict.fromkeys(columns))):
                    for values in zip(*(values_of(batch.column(name)) for name in columns), strict=True):
                        yield number, list(values)
                        number += 1
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self.unreadable(error) from error

    def _opened(self) -> pq.ParquetFile:
        # Without `pre_buffer`, which would fetch whole row groups, of which many files have only one.
        return pq.ParquetFile(self.path, pre_buffer=False, buffer_size=2**20)


class JsonLines(Texts):
    """JSON lines: an object a line. Blank lines are passed over but counted, so that numbers are those of lines.

    `columns` are the keys of the first object, until others are looked for.
    """

    same_columns = False

    def __init__(self, path: Path):
        super().__init__(path)
        with _open_file(path, "\n") as file:
            _, found = next(self._objects(file), (0, {}))
        self.columns = list(found)

    def columns_called(self, name: str, everywhere: bool) -> list[str]:
        found = super().columns_called(name, everywhere)
        if found or not everywhere:
            return found or [name]  # which any line may have
        with _open_file(self.path, "\n") as file:
            for _, each in self._objects(file):
                self.columns = list(dict.fromkeys([*self.columns, *each]))
                if found := super().columns_called(name, everywhere):
                    break
        return found

    def rows(self, columns: Sequence[str], texts: bool = True) -> Iterator[Row]:
        text = columns[0]
        with _open_file(self.path, "\n") as file:
            for number, found in self._objects(file):
                if texts and text not in found:
                    raise StudyError(
                        f"{self.place(number)}: there is no key {text!r}, which holds the text in other lines; it has "
                        f"{name_list(list(found))}."
                    )
                if texts and not isinstance(found[text], str | None):
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

    plain = True

    def rows(self, columns: Sequence[str], texts: bool = True) -> Iterator[Row]:
        with _open_file(self.path, "\n") as file:
            for number, line in enumerate(_lines(self.path, file)):
                yield number, [line.removesuffix("\n").removesuffix("\r")]


def name_list(names: Sequence[Any]) -> str:
    """At most twenty names, shortened, for a message."""
    return ", ".join(map(short_repr, names[:20])) + (" ..." if len(names) > 20 else "")


def short_repr(value: Any) -> str:
    """A value on one line of at most forty characters, for a message."""
    text = value.strip() if isinstance(value, str) else str(value)
    return repr(text if len(text) <= 40 else text[:40] + "...")


def values_of(column: pa.Array) -> list[Any]:
    """Of a column, floats in the precision that they are stored in: 0.1 in 32 bits is not 0.10000000149 in 64."""
    values: list[Any] = column.to_pylist()
    if not (pa.types.is_float32(column.type) or pa.types.is_float16(column.type)):
        return values
    kind = column.type.to_pandas_dtype()
    return [None if value is None else kind(value) for value in values]


def of_texts(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts."""
    held = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(
        pa.types.is_string(held) or pa.types.is_large_string(held) or pa.types.is_string_view(held) or held == pa.null()
    )


def _open_file(path: Path, newline: str) -> TextIO:
    return io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline=newline)  # with or without a BOM


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
                    f"{printable(path)}, line {number} has more than {MAX_LINE:,} characters. Is it {suffix_of(path)}?"
                )
            yield line
    except UnicodeDecodeError as error:
        raise StudyError(not_utf8(path)) from error
    except DAMAGED as error:
        raise StudyError(damaged(path, error)) from error
