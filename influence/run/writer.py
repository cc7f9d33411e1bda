"""Tables, arrays and tensors of a run that is computed, written in the forms that CONTRACT.md states."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import safetensors
import zarr

from influence.errors import RunError
from influence.run.files import curvature_file, model_file, scores_file, shares_file
from influence.run.parquet.forms import BULKY
from influence.run.plain import writing

if TYPE_CHECKING:
    import torch

CHUNK_SHAPE = (64, 1024)
"""Rows (queries) and columns (examples) of a score chunk: 256 kB, so that a row and a column are both cheap."""
CHUNKS_PER_ROW = 128
"""Largest number of chunks in a row. With more examples, chunks are wider and less high."""
CHUNK_SCORES = 2**24
"""Largest number of scores in one column of chunks, which is held in memory while it is computed."""
ARRAY_CHUNK = 2**22
"""Bytes of a chunk of other arrays, which are read whole."""
GROUP_BYTES, MOST_GROUPS = 2**20, 2**12
"""Bytes of pictures and texts in a group of rows of a table of items, about, and the most groups."""
SHARE_ROWS = 1000
"""Rows of a table of shares that are read together (row group of the Parquet file)."""


def rows_together(table: pd.DataFrame) -> int | None:
    """Rows of a table of items that are read together, by the size of its pictures and texts; None: it has none."""
    size = sum(int(table[name].map(len, na_action="ignore").sum()) for name in BULKY if name in table)
    return max(1, len(table) * GROUP_BYTES // size, -(-len(table) // MOST_GROUPS)) if size else None


def chunk_of(shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of a score array's chunks, by its queries and examples."""
    (rows, columns), (high, wide) = shape, CHUNK_SHAPE
    while wide * CHUNKS_PER_ROW < columns and high > 1 and 2 * wide * rows <= CHUNK_SCORES:
        high, wide = high // 2, 2 * wide
    return min(high, rows), min(wide, columns)


class Writer:
    """Writes files into the folder of a run, and keeps the names of those that are new.

    Attributes:
        folder: of the run.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._written: set[str] = set()

    @property
    def written(self) -> Set[str]:
        """Names of the new files, and of folders of new files."""
        return self._written

    def wrote(self, name: str) -> None:
        """Count a file, or all files of a folder, among the new ones, which are of the step that is marked next."""
        self._written.add(name)

    def path(self, name: str) -> Path:
        """Where file `name` of the run is; its folder exists."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextlib.contextmanager
    def _new(self, name: str) -> Iterator[Path]:
        """Where file or array `name` is to be written, as part of the step that is marked next.

        Raises:
            RunError: it cannot be written.
        """
        self.wrote(name)
        with writing(self.folder / name):
            yield self.path(name)

    def write_text(self, name: str, text: str) -> None:
        with self._new(name) as path:
            path.write_text(text, encoding="utf-8")

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        with self._new(f"{name}.parquet") as path:
            table.to_parquet(path, index=False, row_group_size=rows_together(table))

    def write_array(self, name: str, values: np.ndarray) -> None:
        """Written whole, in chunks of rows."""
        rows = max(1, ARRAY_CHUNK // max(1, values[:1].nbytes))
        with self._new(f"{name}.zarr") as path:
            array = zarr.create_array(
                path, shape=values.shape, chunks=(min(rows, len(values)), *values.shape[1:]), dtype=values.dtype,
                compressors=None, overwrite=True, fill_value=float("nan"), config={"write_empty_chunks": True},
            )  # fmt: skip
            array[:] = values

    def write_shares(self, stage: str, method: str, table: pd.DataFrame) -> None:
        """`query`, `example`, `shares`, sorted by query; in groups of rows so that one query's are read alone."""
        with self._new(shares_file(stage, method)) as path:
            table.to_parquet(path, index=False, row_group_size=SHARE_ROWS)

    def write_model(self, stage: str, tensors: Mapping[str, torch.Tensor]) -> None:
        # Cloned, since the format has no tied weights: each name gets its own copy.
        copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        self.write_tensors(model_file(stage), copies)

    def write_curvature(self, stage: str, method: str, state: Mapping[str, torch.Tensor]) -> None:
        """What a solver found, if it is one whose state is kept."""
        if state:
            self.write_tensors(curvature_file(stage, method), state)

    def write_tensors(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        from safetensors.torch import save_file  # only here and below: a run is begun and resumed without torch

        with self._new(name) as path:
            save_file({key: tensor.cpu() for key, tensor in tensors.items()}, path)

    def curvature(self, stage: str, method: str) -> dict[str, torch.Tensor]:
        """What `write_curvature` was given, as the solver takes it up again; empty if nothing was kept.

        Raises:
            RunError: the file is damaged.
        """
        name = curvature_file(stage, method)
        return self.tensors(name) if (self.folder / name).is_file() else {}

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """What `write_tensors` was given.

        Raises:
            RunError: the file is not there, or damaged.
        """
        from safetensors.torch import load_file

        file = self.folder / name
        try:
            return load_file(file)
        except (OSError, safetensors.SafetensorError) as error:
            raise RunError(f"{file} cannot be read: {error}. Delete the run and compute it again.") from error

    def create_scores(self, stage: str, method: str, shape: tuple[int, int]) -> tuple[str, zarr.Array]:
        """A fresh score array (file name, array) to be filled block by block."""
        name = scores_file(stage, method)
        with self._new(name) as path:
            # Float noise does not compress: stored raw, a row is read without decoding.
            return name, zarr.create_array(
                path,
                shape=shape,
                chunks=chunk_of(shape),
                dtype="float32",
                compressors=None,
                overwrite=True,
                # A chunk that goes missing reads as NaN, which readers refuse, and never as a score of zero.
                fill_value=float("nan"),
                config={"write_empty_chunks": True},
            )

    def write_scores(self, name: str, array: zarr.Array, start: int, block: np.ndarray) -> None:
        """Fill whole columns of chunks of a score array, from column `start`, with `block` (queries, columns)."""
        stop = start + block.shape[1]
        with writing(self.folder / name):
            array[:, start:stop] = block
        high, wide = array.chunks
        for row in range(math.ceil(array.shape[0] / high)):
            for column in range(start // wide, math.ceil(stop / wide)):
                self.wrote(f"{name}/{array.metadata.encode_chunk_key((row, column))}")
