"""Tables of a run: their columns, of the kinds that CONTRACT.md states. Nothing else is read.

A run may come from a stranger. A column of another kind, a number out of its range, or a small file that unpacks into
more than memory holds is a ValueError here, and no surprise to who uses the table.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as kinds

from influence.errors import listed
from influence.run.parquet.forms import (
    BULKY,
    BYTES,
    EXAMPLES,
    INTEGER,
    NUMBER,
    POINTERS,
    POSITIVE,
    SHARE,
    SHARES,
    TEXT,
    Form,
    Kind,
)
from influence.run.parquet.pages import BY_NUMBER, BY_PREFIX, DICTIONARY, Page, pages

LARGEST = 2**31
"""Bytes of a table in memory."""
SMALL, LOOSEST = 2**28, 64
"""Of a table that takes more memory than `SMALL`, the file has at least one byte for so many."""
MOST_COLUMNS, MOST_GROUPS, MOST_PAGES = 1000, 2**14, 2**17
"""Columns, groups of rows and pages of a table's file."""
ROUNDING = 1e-3
"""By how much a probability may lie outside 0 to 1: it is a sum in half precision, say."""
BESIDE, INDEX = 32, 8
"""Bytes in memory of an entry beside its contents, and of its place in a dictionary."""


def read_table(
    file: BinaryIO, form: Form, rows: Mapping[str, int], filters: Any = None, without: Collection[str] = ()
) -> pd.DataFrame:
    """The table in `file`, with the columns that its form knows. Empty entries of texts are "".

    Args:
        file: Parquet, open.
        form: of `FORMS`.
        rows: number of rows of the tables that its columns point into: of `QUERIES`, and of every stage's examples by
            its name, or of `EXAMPLES` where the table is of one stage.
        filters: as of pyarrow: only such rows.
        without: columns that are not read.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or not of its form.
    """
    source = _parquet(file)
    _refuse_columns(source.schema_arrow, form, source.metadata.num_rows)
    names = [name for name in source.schema_arrow.names if name in form.columns and name not in without]
    _refuse_large(source, file, names, range(source.metadata.num_row_groups))
    table = (
        pq.read_table(file, columns=names, filters=filters, arrow_extensions_enabled=False)
        if filters
        else source.read(columns=names)
    )
    return _checked(table, form, rows)


def _checked(table: pa.Table, form: Form, rows: Mapping[str, int]) -> pd.DataFrame:
    table.validate(full=True)  # text is UTF-8, places in dictionaries and lists are there
    table = _of_one_kind(table, form)
    _refuse_values(table, form, rows)
    return table.to_pandas(ignore_metadata=True)


@dataclass(frozen=True)
class Groups:
    """The columns of a table that are read by groups of rows, and the rows of each group; none where there is one.

    `order`: names of all columns that the form knows, as they stand in the file.
    """

    names: tuple[str, ...]
    rows: tuple[int, ...]
    order: tuple[str, ...]
    metadata: pq.FileMetaData

    def read(self, file: BinaryIO, form: Form, name: str, group: int) -> np.ndarray:
        """The values of a column in a group. Raises as `read_table`."""
        source = _parquet(file, metadata=self.metadata)
        _refuse_large(source, file, [name], [group])
        found = _checked(source.read_row_group(group, columns=[name]), form, {})[name].to_numpy(dtype=object)
        if len(found) != self.rows[group]:
            raise ValueError(f"its column {name!r} has {len(found):,} rows in a group of {self.rows[group]:,}")
        return found


def groups_of(file: BinaryIO, form: Form) -> Groups:
    """What of the table in `file` can stay there till it is looked at. Raises as `read_table`."""
    source = _parquet(file)
    metadata, count = source.metadata, min(source.metadata.num_row_groups, MOST_GROUPS)
    order = tuple(name for name in source.schema_arrow.names if name in form.columns)
    names = tuple(name for name in order if name in BULKY) if count > 1 else ()
    return Groups(names, tuple(metadata.row_group(group).num_rows for group in range(count)), order, metadata)


def refuse_columns(table: pd.DataFrame, form: Form) -> None:
    """Raise ValueError if a table that is to be written has columns of other kinds than its form."""
    fields = []
    for name in table.columns:
        try:
            fields += list(pa.Schema.from_pandas(table[[name]], preserve_index=False))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(f"its column {name!r} holds values of several kinds ({error})") from error
    _refuse_columns(pa.schema(fields), form, len(table))


def _refuse_columns(schema: pa.Schema, form: Form, count: int) -> None:
    if not count and not schema.names:
        return  # a check that found nothing to measure
    lacking = [name for name in form.needed if name not in schema.names]
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if lacking or twice:
        raise ValueError(f"it lacks the column {lacking[0]!r}" if lacking else f"it has the column {twice[0]!r} twice")
    for name in schema.names:
        if name in form.columns and not form.columns[name].fits(schema.field(name).type):
            found = schema.field(name).type
            raise ValueError(f"its column {name!r} holds {found}, expected {form.columns[name].name}")


def _of_one_kind(table: pa.Table, form: Form) -> pa.Table:
    """The table with whole numbers as int64, other numbers as floats, and no empty or categorical texts."""
    for place, name in enumerate(table.column_names):
        column, kind = table.column(name), form.columns[name]
        if kind is TEXT and (column.null_count or kinds.is_dictionary(column.type)):
            table = table.set_column(place, name, column.cast(pa.large_string()).fill_null(""))
        elif kind in (INTEGER, POSITIVE) and column.type != pa.int64():
            table = table.set_column(place, name, column.cast(pa.int64()))
        elif kind in (NUMBER, SHARE) and column.type not in (pa.float32(), pa.float64()):
            table = table.set_column(place, name, column.cast(pa.float64(), safe=False))
    return table


def row_count(file: BinaryIO) -> int:
    """Rows of the table in `file`, of which nothing else is read.

    Raises:
        OSError, ValueError: as `read_table`.
    """
    return int(_parquet(file).metadata.num_rows)


def _parquet(file: BinaryIO, **options: Any) -> pq.ParquetFile:
    """The file, without what it says of pandas and of types that packages of this machine add to Arrow's."""
    return pq.ParquetFile(
        file,
        arrow_extensions_enabled=False,
        thrift_string_size_limit=2**24,
        thrift_container_size_limit=2**17,
        schema_depth_limit=100,
        **options,
    )


def _refuse_large(source: pq.ParquetFile, file: BinaryIO, names: list[str], groups: Sequence[int]) -> None:
    """Refuse what would take more memory than it may: packed well, or one value in many rows."""
    metadata = source.metadata
    if metadata.num_columns > MOST_COLUMNS or metadata.num_row_groups > MOST_GROUPS:
        raise ValueError(
            f"it has {metadata.num_columns:,} columns in {metadata.num_row_groups:,} groups of rows, expected at most "
            f"{MOST_COLUMNS:,} in {MOST_GROUPS:,}"
        )
    most = min(LARGEST, max(SMALL, LOOSEST * file.seek(0, io.SEEK_END)))
    least = longest = count = 0
    for group in map(metadata.row_group, groups):
        for chunk in map(group.column, range(metadata.num_columns)):
            name = chunk.path_in_schema.split(".")[0]
            if name in names:
                found = list(itertools.islice(pages(file, chunk), MOST_PAGES - count + 1))
                count += len(found)
                if count > MOST_PAGES:
                    raise ValueError(f"it has more than {MOST_PAGES:,} pages, which is slow to read")
                size, more = _memory(found, source.schema_arrow.field(name).type)
                least, longest = least + size + group.num_rows * BESIDE, longest + more
    if least <= most < least + longest:
        # A dictionary tells how much its values take in all rows, before they are.
        long = [name for name in names if _is_long(source.schema_arrow.field(name).type)]
        least += sum(_unpacked(file, name, groups) for name in long)
    if least > most:
        raise ValueError(f"it would take {least / 1e9:,.1f} GB of memory, expected at most {most / 1e9:,.1f}")


def _memory(found: list[Page], kind: pa.DataType) -> tuple[int, int]:
    """Bytes that the values of these pages take at least, and how many more where all are the longest one."""
    if any(page.encoding == BY_PREFIX for page in found):
        raise ValueError("it is packed by prefixes of texts, which are not read")
    value = kind.value_type if _is_list(kind) else kind
    width = INDEX if _is_long(value) or kinds.is_null(value) else value.bit_width // 8
    dictionary = max((page.size for page in found if page.type == DICTIONARY), default=0) if _is_long(value) else 0
    named = sum(page.count for page in found if page.encoding in BY_NUMBER)
    return sum(max(page.size, page.count * width) for page in found), named * dictionary


def _is_long(kind: pa.DataType) -> bool:
    """Whether values are of any length."""
    return BYTES.fits(kind) or (TEXT.fits(kind) and not kinds.is_null(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(kinds.is_list(kind) or kinds.is_large_list(kind))


def _unpacked(file: BinaryIO, name: str, groups: Sequence[int]) -> int:
    """Bytes of all values of a column of texts or bytes in some groups of rows."""
    total = 0
    source = _parquet(file, read_dictionary=[name])
    for chunk in source.read_row_groups(list(groups), columns=[name]).column(0).chunks:
        lengths = pc.binary_length(chunk.dictionary).cast(pa.int64())
        total += pc.sum(lengths.take(chunk.indices)).as_py() or 0
    return total


def _refuse_values(table: pa.Table, form: Form, rows: Mapping[str, int]) -> None:
    for name in table.column_names:
        column, kind = table.column(name), form.columns[name]
        entries = pc.list_flatten(column) if kinds.is_nested(column.type) else column
        # pandas writes what is not a number as an empty entry, also within a list.
        if (entries.null_count and not kind.may_lack) or (column.null_count and entries is not column):
            raise ValueError(f"its column {name!r} has empty entries, expected {kind.name}")
        if kind is POSITIVE and len(column) and pc.min(column).as_py() < 1:
            raise ValueError(f"its column {name!r} holds {pc.min(column).as_py()}, expected {kind.name}")
        if kind in (SHARE, SHARES):
            _refuse_range(name, entries, kind)
        if name in POINTERS:
            _refuse_pointers(table, name, rows)
    for name in form.unique:
        if name in table.column_names and pc.count_distinct(table.column(name)).as_py() != len(table):
            raise ValueError(f"its column {name!r} holds a value twice")
    _refuse_lengths(table, form, rows)


def _refuse_range(name: str, numbers: pa.ChunkedArray, kind: Kind) -> None:
    known = numbers.filter(pc.invert(pc.is_nan(numbers)))
    ends = pc.min_max(known)
    for end in (ends["min"].as_py(), ends["max"].as_py()):
        if end is not None and not -ROUNDING <= end <= 1 + ROUNDING:
            raise ValueError(f"its column {name!r} holds {end:.4g}, expected {kind.name}")


def _refuse_pointers(table: pa.Table, name: str, rows: Mapping[str, int]) -> None:
    of, least = POINTERS[name]
    by_stage = of == EXAMPLES and "stage" in table.column_names
    for stage in pc.unique(table.column("stage")).to_pylist() if by_stage else [of]:
        if stage not in rows:
            raise ValueError(f"its column 'stage' holds {str(stage)[:100]!r}, expected one of {', '.join(rows)}")
        own = table.filter(pc.equal(table.column("stage"), stage)) if by_stage else table
        column = own.column(name)
        ends = pc.min_max(pc.list_flatten(column) if pa.types.is_nested(column.type) else column)
        low, high = ends["min"].as_py(), ends["max"].as_py()
        if low is not None and not (least <= low and high < rows[stage]):
            odd = low if low < least else high
            raise ValueError(f"its column {name!r} holds {odd}, expected {least} to {rows[stage] - 1} of {stage}")


def _refuse_lengths(table: pa.Table, form: Form, rows: Mapping[str, int]) -> None:
    there = [name for name in form.aligned if name in table.column_names]
    lengths = [pc.list_value_length(table.column(name)) for name in there]
    if any(not each.equals(lengths[0]) for each in lengths[1:]):
        raise ValueError(f"its columns {listed(there, ' and ')} have lists of other lengths in one row")
    for name, of in form.lengths.items():
        found = pc.unique(pc.list_value_length(table.column(name))).to_pylist() if name in table.column_names else []
        if any(length != rows[of] for length in found):
            raise ValueError(
                f"its column {name!r} has lists of {found[0]} values, expected {rows[of]}, one of {of} each"
            )
