"""Tables of a run: their columns, of the kinds that CONTRACT.md states. Nothing else is read.

A run may come from a stranger. A column of another kind, a row number beyond the table that it points into, or a small
file that unpacks into more than memory holds is a ValueError here, and no surprise to who uses the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as kinds

from influence.run.forms import BYTES, EXAMPLES, NUMBER, POINTERS, TEXT, Form

LARGEST = 2**31
"""Bytes of a table in memory."""


def read_table(file: BinaryIO, form: Form, rows: Mapping[str, int], filters: Any = None) -> pd.DataFrame:
    """The table in `file`, with the columns that its form knows. Empty entries of texts are "".

    Args:
        file: Parquet, open.
        form: of `FORMS`.
        rows: number of rows of the tables that its columns point into: of `QUERIES`, and of every stage's examples by
            its name, or of `EXAMPLES` where the table is of one stage.
        filters: as of pyarrow: only such rows.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or not of its form.
    """
    source = pq.ParquetFile(file)
    _refuse_columns(source.schema_arrow, form, source.metadata.num_rows)
    names = [name for name in source.schema_arrow.names if name in form.columns]
    _refuse_large(source, file, names)
    table = pq.read_table(file, columns=names, filters=filters) if filters else source.read(columns=names)
    _refuse_values(table, form, rows)
    for place, name in enumerate(table.column_names):
        column = table.column(name)
        if form.columns[name] is TEXT and (column.null_count or kinds.is_dictionary(column.type)):
            table = table.set_column(place, name, column.cast(pa.large_string()).fill_null(""))
    return table.to_pandas()


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


def _refuse_large(source: pq.ParquetFile, opened: BinaryIO, names: list[str]) -> None:
    """Refuse what would take more than `LARGEST` bytes in memory: packed well, or one long text in many rows."""
    metadata = source.metadata
    packed = encoded = 0
    for group in range(metadata.num_row_groups):
        for column in map(metadata.row_group(group).column, range(metadata.num_columns)):
            if column.path_in_schema.split(".")[0] in names:
                packed += column.total_uncompressed_size
                if any("DICTIONARY" in encoding for encoding in column.encodings):
                    encoded += column.total_uncompressed_size * metadata.row_group(group).num_rows
    if packed <= LARGEST < encoded:
        # A dictionary tells how much its values take in all rows, before they are.
        kinds_of = {name: source.schema_arrow.field(name).type for name in names}
        texts = [name for name, kind in kinds_of.items() if TEXT.fits(kind) or BYTES.fits(kind)]
        packed += sum(_unpacked(opened, name) for name in texts)
    if packed > LARGEST:
        raise ValueError(f"it would take {packed / 1e9:,.1f} GB of memory, expected at most {LARGEST / 1e9:,.1f}")


def _unpacked(opened: BinaryIO, name: str) -> int:
    """Bytes of all values of a column of texts or bytes."""
    total = 0
    for chunk in pq.ParquetFile(opened, read_dictionary=[name]).read(columns=[name]).column(0).chunks:
        lengths = pc.binary_length(chunk.dictionary).cast(pa.int64())
        total += pc.sum(lengths.take(chunk.indices)).as_py() or 0
    return total


def _refuse_values(table: pa.Table, form: Form, rows: Mapping[str, int]) -> None:
    for name in table.column_names:
        column = table.column(name)
        if column.null_count and form.columns[name] not in (TEXT, NUMBER):
            raise ValueError(f"its column {name!r} has empty entries, expected {form.columns[name].name}")
        if name in POINTERS:
            _refuse_pointers(table, name, rows)
    for name in form.unique:
        if name in table.column_names and pc.count_distinct(table.column(name)).as_py() != len(table):
            raise ValueError(f"its column {name!r} holds a value twice")
    _refuse_lengths(table, form, rows)


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
    lengths = [pc.list_value_length(table.column(name)) for name in form.aligned if name in table.column_names]
    if any(not each.equals(lengths[0]) for each in lengths[1:]):
        raise ValueError(f"its columns {' and '.join(form.aligned)} have lists of other lengths in one row")
    for name, of in form.lengths.items():
        found = pc.unique(pc.list_value_length(table.column(name))).to_pylist() if name in table.column_names else []
        if any(length != rows[of] for length in found):
            raise ValueError(
                f"its column {name!r} has lists of {found[0]} values, expected {rows[of]}, one of {of} each"
            )
