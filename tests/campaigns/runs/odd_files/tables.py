"""Tables of queries, examples and places: kinds, values, columns and bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from odd_files.changes import NEW, NUMBERS, ODD_TEXTS, OLD, QUERIES, Change, column, content, every, not_utf8, whole

KINDS: Mapping[str, Callable[[pa.Table], Any]] = {
    "integers": every(3),
    "texts": every("3"),
    "bytes": every(b"\xff\xfe"),
    "truth values": every(True),
    "lists": every([1.0]),
    "lists of lists": every([[1]]),
    "structs": every({"a": 1}),
    "times with a zone": every(datetime(2026, 1, 1, tzinfo=UTC)),
    "nothing": every(None),
    "numbers and nothing": lambda table: pa.array([None, *[0.5] * (len(table) - 1)]),
    "categories of numbers": lambda table: pa.array([0.5] * len(table)).dictionary_encode(),
    "categories of texts": lambda table: pa.array(["a", None] * (len(table) // 2)).dictionary_encode(),
}
TABLES: dict[str, Change] = {
    **{
        f"{name} of queries as {kind}": column(QUERIES, name, made)
        for kind, made in KINDS.items()
        for name in ("label", "confidence", "image", "probabilities")
    },
    **{f"id of examples as {kind}": column(OLD, "id", made) for kind, made in KINDS.items()},
    **{
        f"{name} is {word}": column(file, name, every(value, pa.float32()))
        for word, value in NUMBERS.items()
        for file, name in (
            (QUERIES, "loss"),
            (QUERIES, "confidence"),
            (OLD, "self_influence"),
            ("map/pretrain.parquet", "x"),
        )
    },
    **{f"label is {word}": column(QUERIES, "label", every(text)) for word, text in ODD_TEXTS.items()},
    **{f"prediction is {word}": column(NEW, "prediction", every(text)) for word, text in ODD_TEXTS.items()},
    **{f"title is {word}": column(OLD, "title", every(text)) for word, text in ODD_TEXTS.items()},
    "label is no UTF-8": column(QUERIES, "label", not_utf8),
    "every label another": column(QUERIES, "label", lambda t: pa.array([f"c{n}" for n in range(len(t))])),
    "every prediction another": column(QUERIES, "prediction", lambda t: pa.array([f"c{n}" for n in range(len(t))])),
    "ids of 64 bits": column(QUERIES, "id", lambda t: pa.array([2**64 - 1 - n for n in range(len(t))], pa.uint64())),
    "ids below nothing": column(OLD, "id", lambda t: pa.array([-(2**63) + n for n in range(len(t))])),
    "ids of 8 bits": column(OLD, "id", lambda t: pa.array(range(len(t)), pa.int8())),
    "an id twice": column(OLD, "id", every(7)),
    "probabilities of other lengths": column(
        QUERIES, "probabilities", lambda t: pa.array([[0.5] * n for n in range(len(t))])
    ),
    "probabilities of no number": column(QUERIES, "probabilities", every([np.nan] * 3, pa.list_(pa.float32()))),
    "probabilities with nothing": column(QUERIES, "probabilities", every([0.5, None, 0.5])),
    "probabilities above 1": column(QUERIES, "probabilities", every([5.0, -4.0, 0.0])),
    "no rows": whole(QUERIES, lambda t: t.slice(0, 0)),
    "no rows of examples": whole(NEW, lambda t: t.slice(0, 0)),
    "a row": whole(QUERIES, lambda t: t.slice(0, 1)),
    "a row too few": whole(OLD, lambda t: t.slice(1)),
    "rows twice": whole(OLD, lambda t: pa.concat_tables([t, t])),
    "a column twice": whole(QUERIES, lambda t: t.append_column("label", t["label"])),
    "no label": whole(QUERIES, lambda t: t.drop_columns("label")),
    "no prediction": whole(QUERIES, lambda t: t.drop_columns("prediction")),
    "no loss": whole(OLD, lambda t: t.drop_columns("loss")),
    "no columns": whole(QUERIES, lambda t: pa.table({})),
    "columns by the thousand": whole(
        QUERIES, lambda t: pa.table({**{n: t[n] for n in t.column_names}, **{f"c{n}": t["id"] for n in range(1500)}})
    ),
    "other columns of odd names": whole(
        QUERIES, lambda t: pa.table({**{n: t[n] for n in t.column_names}, "a.b\0<b>": t["id"], "": t["id"]})
    ),
    "metadata of pandas": whole(
        QUERIES,
        lambda t: t.replace_schema_metadata(
            {b"pandas": b'{"index_columns": ["label", {"kind": "range", "start": 0, "stop": 1e9}], "columns": 5}'}
        ),
    ),
    "metadata of a pickle": whole(
        QUERIES,
        lambda t: t.cast(
            pa.schema(
                [
                    f.with_metadata(
                        {
                            b"ARROW:extension:name": b"arrow.py_extension_type",
                            b"ARROW:extension:metadata": b"cos\nsystem\n(S'touch /tmp/x'\ntR.",
                        }
                    )
                    for f in t.schema
                ]
            )
        ),
    ),
    "places of another number": whole("map/pretrain.parquet", lambda t: t.slice(3)),
    "places as texts": column("map/queries.parquet", "y", every("a")),
    "places nowhere": column("map/queries.parquet", "y", every(None, pa.float32())),
    "places too far": column(
        "map/pretrain.parquet", "x", lambda t: pa.array([(-1.0) ** n * 3e38 for n in range(len(t))], pa.float32())
    ),
    "no Parquet": content(QUERIES, lambda old: b"PAR1" + bytes(1000) + b"PAR1"),
    "an empty file": content(QUERIES, lambda old: b""),
    "a file cut off": content(QUERIES, lambda old: old[:-9]),
    "a footer of 4 GB": content(QUERIES, lambda old: old[:-8] + b"\xff\xff\xff\xff" + b"PAR1"),
}
