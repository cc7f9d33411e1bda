"""Tables that take far more memory than space on the disk, and footers that lie about it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from odd_files.changes import NEW, QUERIES, Change, both, endless_list, resealed, whole


def packed(rows: int, value: Any, kind: pa.DataType) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value], kind))


def long_rows(rows: int, **columns: Any) -> Callable[[pa.Table], pa.Table]:
    numbers = pa.array(np.zeros(rows, np.int64))
    return lambda table: pa.table({"id": numbers, "label": packed(rows, "a", pa.string()), **columns})


def without_sizes(run: Path) -> None:
    """The footer says of every column that it unpacks into 9 bytes."""
    metadata, content = pq.read_metadata(run / QUERIES), bytearray((run / QUERIES).read_bytes())
    for number in range(metadata.num_columns):
        size = metadata.row_group(0).column(number).total_uncompressed_size
        told, lie = varint(2 * size), varint(18, len(varint(2 * size)))
        for place in (p for p in range(len(content) - len(told)) if content[p : p + len(told)] == told):
            trial = content[:place] + lie + content[place + len(told) :]
            with_lie = _sizes(bytes(trial))
            if with_lie and with_lie[number] == 9:
                content = trial
                break
    (run / QUERIES).write_bytes(content)
    resealed(run, QUERIES)


def varint(number: int, width: int = 0) -> bytes:
    """A number of Thrift's compact protocol, in at least `width` bytes."""
    parts = [number >> 7 * n & 127 for n in range(max(1, -(-number.bit_length() // 7), width))]
    return bytes(part | 128 for part in parts[:-1]) + bytes(parts[-1:])


def _sizes(content: bytes) -> list[int]:
    try:
        group = pq.read_metadata(io.BytesIO(content)).row_group(0)
        return [group.column(n).total_uncompressed_size for n in range(group.num_columns)]
    except (OSError, ValueError, OverflowError):
        return []


LONG = whole(QUERIES, long_rows(2_000_000, text=packed(2_000_000, "x" * 10_000, pa.string())))
BOMBS: dict[str, Change] = {
    "a long text in many rows": LONG,
    "a long text in many rows, and a footer that lies": both(LONG, without_sizes),
    "many rows of nothing": whole(QUERIES, lambda t: long_rows(30_000_000)(t)),
    "zeros packed well": whole(
        QUERIES,
        lambda t: pa.table({"id": [1, 2, 3], "label": ["\0" * 400_000_000, "b", "c"]}),
        compression="zstd",
        use_dictionary=False,
    ),
    "texts packed by prefixes": whole(
        QUERIES,
        lambda t: pa.table({"id": range(3000), "label": ["x" * 100_000] * 3000}),
        use_dictionary=False,
        column_encoding={"label": "DELTA_BYTE_ARRAY", "id": "PLAIN"},
    ),
    "a list without end": whole(
        QUERIES, lambda t: pa.table({"id": [1], "label": ["a"], "probabilities": endless_list(90_000_000)})
    ),
    "a list without end, and a footer that lies": both(
        whole(QUERIES, lambda t: pa.table({"id": [1], "label": ["a"], "probabilities": endless_list(90_000_000)})),
        without_sizes,
    ),
    "groups of rows by the thousand": whole(
        NEW, lambda t: pa.concat_tables([t] * 1000).slice(0, 20_000), row_group_size=1
    ),
    "pages by the thousand": whole(NEW, lambda t: pa.concat_tables([t] * 5000), data_page_size=1, write_batch_size=1),
}
