"""Arrays: values, chunks and what zarr.json says of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from manifests import sealed

from odd_files.changes import NUMBERS, Change, content

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
