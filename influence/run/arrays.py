"""Arrays of a run: Zarr 3, two dimensions of float32, stored as they are. Nothing else is opened.

Zarr can name codecs and older formats that run code or unpack far more than they hold. CONTRACT.md allows one form, so
an array is compared with it before zarr sees it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import zarr

from influence.run.plain import read_plain

LARGEST_CHUNK = 2**24
"""Numbers in a chunk. A chunk is held in memory whole, and a missing one is made up of NaN."""
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


def open_array(folder: Path) -> zarr.Array:
    """The array in `folder`, lazily read. Its shape is as its zarr.json says: compare it with the tables.

    Raises:
        OSError: its zarr.json cannot be read.
        ValueError: it is not of the form that CONTRACT.md gives.
    """
    told = json.loads(read_plain(folder / "zarr.json", 2**20))
    if not isinstance(told, dict):
        raise ValueError("zarr.json holds no object")
    for name, value in FORM.items():
        if told.get(name, value if name == "storage_transformers" else None) != value:
            raise ValueError(f"its {name} is {str(told.get(name))[:100]}, expected {value}")
    if not _sizes(told.get("shape")):
        raise ValueError(f"its shape is {str(told.get('shape'))[:100]}, expected two dimensions")
    grid: Any = told.get("chunk_grid")
    chunk: Any = grid.get("configuration", {}).get("chunk_shape") if isinstance(grid, dict) else None
    if not _sizes(chunk) or grid.get("name") != "regular" or math.prod(chunk) > LARGEST_CHUNK:
        raise ValueError(f"its chunk_grid is {str(grid)[:100]}, expected regular chunks of at most {LARGEST_CHUNK:,}")
    return zarr.open_array(folder, mode="r", zarr_format=3)


def _sizes(shape: Any) -> bool:
    """Whether this is the shape of an array of two dimensions."""
    return isinstance(shape, list) and len(shape) == 2 and all(type(size) is int and size > 0 for size in shape)
