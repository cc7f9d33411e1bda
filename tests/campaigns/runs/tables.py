"""Odd tables and arrays in a run whose checksums hold: kinds, values, pictures, files that lie about their size."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from manifests import sealed
from pages import ADDRESSES
from PIL import Image
from readers import FIRST_PAGES, read_all
from situation import Situation
from strangers import PICTURES, TEXTS, copied, limited_memory

from influence.run.files import checksum

Change = Callable[[Path], None]
QUERIES, OLD, NEW = "queries.parquet", "examples/pretrain.parquet", "examples/finetune.parquet"
CHANCE = 60
QUICK_EVERY = 24
MEMORY = 3 * 2**30
"""Bytes that reading any of these runs may take beside what is loaded already."""


def resealed(run: Path, file: str) -> None:
    """run.json with the checksum of what `file` holds now."""
    told: dict[str, Any] = json.loads((run / "run.json").read_text())
    del told["checksum"]
    told["files"][file] = checksum(run / file)
    (run / "run.json").write_text(sealed(told))


def validation(run: Path, check: str) -> str:
    return str(json.loads((run / "run.json").read_text())["validation"][check])


# Tables


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

# What checks found

FOUND: dict[str, Change] = {
    **{
        f"{name} of {check} is {word}": column(check, name, every(value, pa.float32()))
        for word, value in NUMBERS.items()
        for check, name in (
            ("summary", "value"),
            ("leave-one-out", "measured"),
            ("subsets", "predicted"),
            ("removal", "share"),
            ("stability", "overlap"),
            ("planted", "found"),
            ("noise", "measured"),
        )
    },
    **{
        f"{name} of {check} is odd": column(check, name, every("<b>\0"))
        for check, name in (
            ("summary", "what"),
            ("leave-one-out", "start"),
            ("removal", "kind"),
            ("stability", "changed"),
            ("planted", "finder"),
            ("sanity", "scores"),
        )
    },
    "counts below nothing": column("summary", "count", every(-5)),
    "k of nothing": column("stability", "k", every(0)),
    "k without end": column("stability", "k", every(2**62)),
    "queries beyond the table": column("stability", "query", every(40)),
    "examples beyond the table": column("leave-one-out", "example", every(60)),
    "a stage that is none": column("subsets", "stage", every("other")),
    "no row of a summary": whole("summary", lambda t: t.slice(0, 0)),
    "no row of left-out singly": whole("leave-one-out", lambda t: t.slice(0, 0)),
    "rows of a check by the thousand": whole("noise", lambda t: pa.concat_tables([t] * 300)),
}

# Sizes


def packed(rows: int, value: Any, kind: pa.DataType) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value], kind))


def long_rows(rows: int, **columns: Any) -> Callable[[pa.Table], pa.Table]:
    numbers = pa.array(np.zeros(rows, np.int64))
    return lambda table: pa.table({"id": numbers, "label": packed(rows, "a", pa.string()), **columns})


def endless_list(values: int) -> Any:
    return pa.ListArray.from_arrays(pa.array([0, values], pa.int32()), pa.array(np.zeros(values, np.float32)))


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


def both(*changes: Change) -> Change:
    def change(run: Path) -> None:
        for each in changes:
            each(run)

    return change


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

# Arrays

SCORES = "scores/pretrain-exact.zarr"


def stated(file: str, **changes: Any) -> Change:
    """Change fields of an array's zarr.json."""
    name = f"{file}/zarr.json"
    return content(name, lambda old: json.dumps(json.loads(old) | changes).encode())


def chunk(made: Callable[[bytes], bytes], file: str = SCORES) -> Change:
    return content(f"{file}/c/0/0", made)


def sparse(run: Path) -> None:
    """A chunk of 20 GB that takes no space."""
    with (run / SCORES / "c/0/0").open("rb+") as file:
        file.truncate(20 * 2**30)
    told = json.loads((run / "run.json").read_text())
    del told["checksum"]
    (run / "run.json").write_text(sealed(told))  # its digest would take a minute; the readers below do not ask for it


def values(number: float) -> Callable[[bytes], bytes]:
    return lambda old: np.full(len(old) // 4, number, "<f4").tobytes()


GRID = {"name": "regular", "configuration": {"chunk_shape": [2**12, 2**12]}}
ARRAYS: dict[str, Change] = {
    **{f"scores are {word}": chunk(values(number)) for word, number in NUMBERS.items()},
    **{f"places of queries are {word}": chunk(values(n), "embedding/queries.zarr") for word, n in NUMBERS.items()},
    "scores are nothing": chunk(values(0.0)),
    "scores are the smallest": chunk(values(1e-45)),
    "a chunk cut off": chunk(lambda old: old[:-5]),
    "an empty chunk": chunk(lambda old: b""),
    "a chunk too long": chunk(lambda old: old * 3),
    "a chunk of zstd": chunk(lambda old: b"\x28\xb5\x2f\xfd" + old),
    "format 2": stated(SCORES, zarr_format=2),
    "pickled": stated(SCORES, codecs=[{"name": "numcodecs.pickle", "configuration": {"protocol": 5}}]),
    "blosc": stated(
        SCORES,
        codecs=[{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "blosc", "configuration": {}}],
    ),
    "sharded": stated(SCORES, codecs=[{"name": "sharding_indexed", "configuration": {"chunk_shape": [1, 1]}}]),
    "of texts": stated(SCORES, data_type="string"),
    "of one dimension": stated(SCORES, shape=[2400]),
    "of three": stated(SCORES, shape=[40, 60, 1]),
    "of other rows": stated(SCORES, shape=[41, 60]),
    "of endless columns": stated(SCORES, shape=[40, 10**15]),
    "in large chunks": stated(SCORES, chunk_grid=GRID),
    "in chunks of nothing": stated(SCORES, chunk_grid={"name": "regular", "configuration": {"chunk_shape": [0, 1]}}),
    "in chunks of one number": stated(SCORES, chunk_grid={"name": "regular", "configuration": {"chunk_shape": [1, 1]}}),
    "in negative chunks": stated(SCORES, chunk_grid={"name": "regular", "configuration": {"chunk_shape": [-1, 60]}}),
    "a grid of text": stated(SCORES, chunk_grid="regular"),
    "a grid without a configuration": stated(SCORES, chunk_grid={"name": "regular"}),
    "a grid with a configuration of text": stated(
        SCORES, chunk_grid={"name": "regular", "configuration": "chunk_shape"}
    ),
    "a number twice in zarr.json": content(
        f"{SCORES}/zarr.json", lambda old: old.replace(b'"shape"', b'"shape": [1, 1], "shape"', 1)
    ),
    "attributes without end": stated(SCORES, attributes={"a": ["x"] * 10_000}),
    "zarr.json of brackets": content(f"{SCORES}/zarr.json", lambda old: b"[" * 100_000),
    "vectors of another width": stated("embedding/queries.zarr", shape=[40, 9]),
    "vectors without end": stated("embedding/queries.zarr", shape=[40, 10**9]),
}

# Pictures


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_of(width: int, height: int, *chunks: tuple[bytes, bytes], data: bytes = b"") -> bytes:
    """A PNG of these sides, with further chunks before its data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    every = [
        (b"IHDR", header),
        *chunks,
        (b"IDAT", data or zlib.compress(bytes((width + 1) * min(height, 2000)))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in every
    )


SMALL = Image.new("L", (28, 28), 100)
ZEROS = zlib.compress(bytes(200_000_000))
PICTURE_FILES: dict[str, Callable[[], bytes]] = {
    "EPS": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/x) (w) file\n",
    "empty": lambda: b"",
    "cut off": lambda: saved(SMALL, "PNG")[:40],
    "of 400 megapixels": lambda: png_of(20_000, 20_000),
    "of many pixels and little data": lambda: png_of(1900, 2000, data=zlib.compress(b"")),
    "without an area": lambda: png_of(0, 5),
    "with sides of 31 bits": lambda: png_of(2**31 - 1, 2**31 - 1, data=b"x"),
    "with 200 MB of text": lambda: png_of(28, 28, (b"zTXt", b"a\0\0" + ZEROS)),
    "with 200 MB of iTXt": lambda: png_of(28, 28, (b"iTXt", b"a\0\1\0\0\0" + ZEROS)),
    "with a profile of 200 MB": lambda: png_of(28, 28, (b"iCCP", b"a\0\0" + ZEROS)),
    "with texts by the thousand": lambda: png_of(28, 28, *[(b"tEXt", b"a\0" + b"x" * 100)] * 20_000),
    "with odd EXIF": lambda: png_of(28, 28, (b"eXIf", b"MM\0\x2a\0\0\0\x08\xff\xff" + bytes(60))),
    "with data of 200 MB": lambda: png_of(28, 28, data=ZEROS),
    "animated": lambda: saved(
        SMALL, "PNG", save_all=True, append_images=[Image.new("L", (28, 28), n) for n in range(99)]
    ),
    "animated without end": lambda: png_of(28, 28, (b"acTL", struct.pack(">II", 2**31 - 1, 0))),
    "GIF": lambda: saved(SMALL, "GIF"),
    "JPEG": lambda: saved(SMALL, "JPEG"),
    "TIFF": lambda: saved(SMALL, "TIFF"),
    "WebP": lambda: saved(SMALL, "WEBP"),
    "of one column": lambda: saved(Image.new("L", (1, 3000)), "PNG"),
    "of 16 bits": lambda: saved(Image.new("I;16", (28, 28)), "PNG"),
    "transparent": lambda: saved(Image.new("RGBA", (28, 28)), "PNG"),
}
IN_COLUMN = {
    f"picture {name}": column(file, "image", lambda t, made=made: pa.array([made()] * 3 + t["image"].to_pylist()[3:]))
    for name, made in PICTURE_FILES.items()
    for file in (QUERIES if name < "cut" else OLD,)
}

# Texts

OF_TEXTS: dict[str, Change] = {
    **{
        f"starts are {word}": column(
            "tokens/pretrain.parquet",
            "starts",
            lambda t, n=number: pa.array([[n] * len(row) for row in t["starts"].to_pylist()]),
        )
        for word, number in (("below nothing", -5), ("beyond", 10**6), ("of 62 bits", 2**62))
    },
    **{
        f"shares are {word}": column(
            "shares/pretrain-exact.parquet", "shares", every([value] * 9, pa.list_(pa.float32()))
        )
        for word, value in NUMBERS.items()
    },
    **{f"text is {word}": column(OLD, "text", every(text)) for word, text in ODD_TEXTS.items()},
    "text is no UTF-8": column(OLD, "text", not_utf8),
    "text is nothing": column(QUERIES, "text", every(None, pa.string())),
    "tokens of other rows": whole("tokens/pretrain.parquet", lambda t: t.slice(1)),
    "tokens of nothing": column("tokens/queries.parquet", "ends", every([None, 3])),
    "tokens without a length": column("tokens/queries.parquet", "ends", every([])),
    "shares of a query that is none": column("shares/pretrain-exact.parquet", "query", every(40)),
    "shares of an example that is none": column("shares/pretrain-exact.parquet", "example", every(-1)),
    "shares of the same example": column("shares/pretrain-exact.parquet", "example", every(0)),
    "shares as texts": column("shares/pretrain-exact.parquet", "shares", every(["a"])),
    "shares turned round": whole("shares/pretrain-exact.parquet", lambda t: t.take(list(range(len(t)))[::-1])),
    "shares without end": whole(
        "shares/pretrain-exact.parquet",
        lambda t: pa.table(
            {
                "query": pa.array([0], pa.int32()),
                "example": pa.array([0], pa.int32()),
                "shares": endless_list(90_000_000),
            }
        ),
    ),
}

# Models

MODEL = "stages/pretrain.safetensors"


def model(header: bytes, body: bytes = b"", length: int = -1) -> Change:
    return content(MODEL, lambda old: struct.pack("<Q", len(header) if length < 0 else length) + header + body)


def tensors(**told: Any) -> bytes:
    return json.dumps(told).encode()


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
MODELS: dict[str, Change] = {
    "model with a header of 2^63 bytes": model(tensors(weight=F32), bytes(8), 2**63),
    "model with a header of brackets": model(b"[" * 100_000),
    "model with tensors over each other": model(tensors(weight=F32, other=F32), bytes(8)),
    "model with a gap": model(tensors(weight=F32, other=F32 | {"data_offsets": [80, 88]}), bytes(88)),
    "model beyond its end": model(tensors(weight=F32 | {"shape": [10**9], "data_offsets": [0, 4 * 10**9]}), bytes(8)),
    "model without an area": model(tensors(weight=F32 | {"shape": [0, 10**12], "data_offsets": [0, 0]})),
    "model of other names": model(tensors(**{"<b>\0": F32}), bytes(8)),
    "model of other numbers": model(tensors(weight=F32 | {"dtype": "F8_E4M3", "data_offsets": [0, 2]}), bytes(2)),
    "model of nothing": model(b"{}"),
    "model of no numbers": model(tensors(weight=F32), struct.pack("<ff", np.nan, np.inf)),
    "an empty model": content(MODEL, lambda old: b""),
}

ODD = {**TABLES, **FOUND, **ARRAYS, **IN_COLUMN, **MODELS}


def check_odd(kind: str, change: Change, pages: tuple[str, ...], folder: Path) -> None:
    root = copied(kind, folder)
    change(root / "odd")
    with limited_memory(MEMORY):
        read_all(root, "odd", pages)


def flipped(seed: int, run: Path) -> None:
    """One to eight bytes of a table, its pages or its footer."""
    chance = random.Random(seed)
    file = chance.choice((QUERIES, OLD, "map/pretrain.parquet"))
    found = bytearray((run / file).read_bytes())
    for _ in range(chance.randint(1, 8)):
        place = chance.choice((chance.randrange(len(found)), len(found) - 1 - chance.randrange(min(2000, len(found)))))
        found[place] = chance.randrange(256)
    (run / file).write_bytes(found)
    resealed(run, file)


SITUATIONS = [
    *(Situation("tables", name, partial(check_odd, PICTURES, change, ADDRESSES)) for name, change in ODD.items()),
    *(Situation("tables", name, partial(check_odd, TEXTS, change, ADDRESSES)) for name, change in OF_TEXTS.items()),
    *(Situation("tables", name, partial(check_odd, PICTURES, change, FIRST_PAGES)) for name, change in BOMBS.items()),
    *(
        Situation("tables", f"bytes by chance {n}", partial(check_odd, PICTURES, partial(flipped, n), FIRST_PAGES))
        for n in range(CHANCE)
    ),
    *(
        Situation("tables, first pages", name, partial(check_odd, PICTURES, ODD[name], FIRST_PAGES), quick=True)
        for name in list(ODD)[::QUICK_EVERY]
    ),
]
