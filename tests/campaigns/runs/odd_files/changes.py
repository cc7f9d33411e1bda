"""Changes of files of a run, after which its checksums hold again; and odd values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from manifests import sealed

from influence.run.files import checksum

Change = Callable[[Path], None]
QUERIES, OLD, NEW = "queries.parquet", "examples/pretrain.parquet", "examples/finetune.parquet"


def resealed(run: Path, file: str) -> None:
    """run.json with the checksum of what `file` holds now."""
    told: dict[str, Any] = json.loads((run / "run.json").read_text())
    del told["checksum"]
    told["files"][file] = checksum(run / file)
    (run / "run.json").write_text(sealed(told))


def validation(run: Path, check: str) -> str:
    return str(json.loads((run / "run.json").read_text())["validation"][check])


def column(file: str, name: str, values: Callable[[pa.Table], Any]) -> Change:
    """Change a column of a table, or add it."""

    def change(run: Path) -> None:
        own = file if "." in file else validation(run, file)
        table = pq.read_table(run / own)
        made = values(table)
        place = table.column_names.index(name) if name in table.column_names else -1
        table = table.append_column(name, made) if place < 0 else table.set_column(place, name, made)
        pq.write_table(table, run / own)
        resealed(run, own)

    return change


def whole(file: str, made: Callable[[pa.Table], pa.Table], **options: Any) -> Change:
    """Change a whole table."""

    def change(run: Path) -> None:
        own = file if "." in file else validation(run, file)
        pq.write_table(made(pq.read_table(run / own)), run / own, **options)
        resealed(run, own)

    return change


def content(file: str, made: Callable[[bytes], bytes]) -> Change:
    """Change the bytes of a file."""

    def change(run: Path) -> None:
        (run / file).write_bytes(made((run / file).read_bytes()))
        resealed(run, file)

    return change


def every(value: Any, kind: pa.DataType | None = None) -> Callable[[pa.Table], Any]:
    """The same value in every row."""
    return lambda table: pa.array([value] * len(table), kind)


def both(*changes: Change) -> Change:
    def change(run: Path) -> None:
        for each in changes:
            each(run)

    return change


NUMBERS = {"not a number": np.nan, "infinity": np.inf, "minus infinity": -np.inf, "1e38": 1e38, "-3": -3.0}
ODD_TEXTS = {
    "nul": "\0a\0",
    "markup": "<script>alert(1)</script>**b**$x$",
    "long": "x" * 200_000,
    "empty": "",
    "escape": "\x1b[2J",
    "marks": "a" + "\u0301" * 5000,
    "turned": "\u202eabc",
    "number": "007",
}


def not_utf8(table: pa.Table) -> Any:
    raw = pa.array([b"\xed\xa0\x80"] * len(table), pa.binary())
    return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())


def endless_list(values: int) -> Any:
    return pa.ListArray.from_arrays(pa.array([0, values], pa.int32()), pa.array(np.zeros(values, np.float32)))
