"""Arrays of a run: Zarr 3, two dimensions of float32, stored as they are. Nothing else is opened.

Zarr can name codecs and older formats that run code or unpack far more than they hold. CONTRACT.md allows one form, so
an array is compared with it before zarr sees it.
"""

from __future__ import annotations

import math
import os
from typing import Any, cast

import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from influence.run.contents import Contents
from influence.run.plain import parsed_json

LARGEST_CHUNK = 2**24
"""Numbers in a chunk. A chunk is held in memory whole, and a missing one is made up of NaN."""
MOST_CHUNKS = 2**14
"""Chunks in a row or a column of chunks, each of which is a file to be opened."""
NUMBER = 4
"""Bytes of a number."""
WIDEST = 2**16
"""Numbers in a vector of the map, whose width no table gives."""
FORM: dict[str, Any] = {
    "zarr_format": 3,
    "node_type": "array",
    "data_type": "float32",
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    "fill_value": "NaN",
    "storage_transformers": [],
}
"""What zarr.json says of every array of a run. The shape and the chunks' shape are the array's own."""


def open_array(contents: Contents, name: str) -> zarr.Array:
    """The array called `name`, lazily read. Its shape is as its zarr.json says: compare it with the tables.

    Whoever indexes it gets a RunError that names the chunk if that is not as it was written. A chunk that is missing,
    or that run.json does not list, reads as NaN.

    Raises:
        OSError: its zarr.json cannot be read.
        ValueError: it is not of the form that CONTRACT.md gives, or not as it was written.
    """
    with contents.opened(f"{name}/zarr.json") as file:
        told = parsed_json(file.read(2**20))
    if not isinstance(told, dict):
        raise ValueError("zarr.json holds no object")
    for field, value in FORM.items():
        if told.get(field, value if field == "storage_transformers" else None) != value:
            raise ValueError(f"its {field} is {str(told.get(field))[:100]}, expected {value}")
    if not _sizes(told.get("shape")):
        raise ValueError(f"its shape is {str(told.get('shape'))[:100]}, expected two dimensions")
    grid: Any = told.get("chunk_grid")
    stated: Any = grid.get("configuration") if isinstance(grid, dict) else None
    chunk: Any = stated.get("chunk_shape") if isinstance(stated, dict) else None
    if not _sizes(chunk) or grid.get("name") != "regular" or math.prod(chunk) > LARGEST_CHUNK:
        raise ValueError(f"its chunk_grid is {str(grid)[:100]}, expected regular chunks of at most {LARGEST_CHUNK:,}")
    store = MemoryStore(cast(Any, _Files(contents, name)), read_only=True)
    return zarr.open_array(store, mode="r", zarr_format=3)


def refuse_many_chunks(array: zarr.Array) -> None:
    """Raise ValueError if so many files would be opened for a row or a column that nobody could wait for it."""
    if max(-(-size // each) for size, each in zip(array.shape, array.chunks, strict=True)) > MOST_CHUNKS:
        raise ValueError(f"its chunks are {array.chunks}, so that a row or column has more than {MOST_CHUNKS:,}")


class _Files:
    """What zarr reads of an array: its files by their relative names, from the disk and as they were written."""

    def __init__(self, contents: Contents, array: str):
        self._contents, self._array = contents, array

    def __contains__(self, key: str) -> bool:
        return f"{self._array}/{key}" in self._contents

    def __getitem__(self, key: str) -> Any:
        name = f"{self._array}/{key}"
        try:
            with self._contents.opened(name) as file:
                if os.fstat(file.fileno()).st_size > NUMBER * LARGEST_CHUNK:
                    raise ValueError(f"it has more than {NUMBER * LARGEST_CHUNK:,} bytes")
                held = file.read()
        except FileNotFoundError:
            raise KeyError(key) from None
        except (OSError, ValueError) as error:
            raise self._contents.unreadable(name, error) from error
        return default_buffer_prototype().buffer.from_bytes(held)


def _sizes(shape: Any) -> bool:
    """Whether this is the shape of an array of two dimensions."""
    return isinstance(shape, list) and len(shape) == 2 and all(type(size) is int and size > 0 for size in shape)
