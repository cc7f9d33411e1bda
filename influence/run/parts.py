"""Tables, arrays and tensors of a run, each compared with what the run's other files say of its size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pandas as pd
import safetensors
import zarr

from influence.errors import RunError
from influence.run.arrays import WIDEST, open_array, refuse_many_chunks
from influence.run.contents import Contents
from influence.run.parquet.columns import in_file
from influence.run.parquet.forms import FORMS, Form
from influence.run.parquet.tables import groups_of, read_table, row_count

if TYPE_CHECKING:
    import torch


class Parts(Contents):
    """The files that run.json lists, read by their kind. Tables are kept once they are read.

    Whatever cannot be read is a RunError that names the file.
    """

    def __init__(self, folder: Path, digests: Mapping[str, str]):
        super().__init__(folder, digests)
        self._tables: dict[str, pd.DataFrame] = {}

    def table(
        self, name: str, form: Form, places: str = "", rows: Mapping[str, int] | None = None, by_groups: bool = False
    ) -> pd.DataFrame:
        """A table, with the columns of its file of places where the run has one; `rows` as of `read_table`.

        `by_groups`: pictures and texts stay in a file that has several groups of rows, and are read as they are used.
        """
        if name not in self._tables:
            table = self._by_groups(name, form) if by_groups else self.read(name, form, rows or {})
            if places in self:
                found = self.read(places, FORMS["map"], {})
                if len(found) != len(table):
                    raise self.unreadable(places, f"it has {len(found):,} rows for {len(table):,} of {name}")
                table = pd.concat([table.drop(columns=found.columns, errors="ignore"), found], axis=1)
            self._tables[name] = table
        return self._tables[name]

    def read(self, name: str, form: Form, rows: Mapping[str, int], filters: Any = None) -> pd.DataFrame:
        """A table's rows, or those that `filters` name, read now. Arguments as of `read_table`."""
        with self._reading(name) as file:
            return read_table(file, form, rows, filters)

    def _by_groups(self, name: str, form: Form) -> pd.DataFrame:
        def values(column: str, group: int) -> np.ndarray:
            with self._reading(name) as file:
                return groups.read(file, form, column, group)

        with self._reading(name) as file:
            groups = groups_of(file, form)
            table = read_table(file, form, {}, without=groups.names)
            for column in groups.names:
                table[column] = in_file(partial(values, column), groups.rows)
        return table[list(groups.order)]

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[BinaryIO]:
        try:
            with self.opened(name) as file:
                yield file
        except (OSError, ValueError, KeyError) as error:
            raise self.unreadable(name, error) from error

    def rows(self, name: str) -> int:
        """Rows of a table, without reading them."""
        with self._reading(name) as file:
            return row_count(file)

    def array(self, name: str, rows_of: str | int, columns_of: str = "") -> zarr.Array:
        """An array with a row for each row of one table (or so many), and a column for each of another; "": any."""
        try:
            array = open_array(self, name)
        except (OSError, ValueError, RecursionError) as error:
            raise self.unreadable(name, error) from error
        rows = self.rows(rows_of) if isinstance(rows_of, str) else rows_of
        columns = self.rows(columns_of) if columns_of else min(array.shape[1], WIDEST)
        if array.shape != (rows, columns):
            raise RunError(
                f"{name} of run {self.folder.name} has the shape {array.shape}, expected {(rows, columns)} by its "
                "tables. Compute the run again."
            )
        try:
            refuse_many_chunks(array)
        except ValueError as error:
            raise self.unreadable(name, error) from error
        return array

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """A file's tensors by name."""
        from safetensors.torch import load_file  # only here: everything else of a run is read without torch

        try:
            return load_file(self.path(name))
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise self.unreadable(name, error) from error

    def shapes(self, name: str) -> dict[str, tuple[int, ...]]:
        """Shapes of a file's tensors by name, without reading their values."""
        try:
            with safetensors.safe_open(self.path(name), framework="np") as kept:
                return {key: tuple(kept.get_slice(key).get_shape()) for key in sorted(kept.keys())}
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise self.unreadable(name, error) from error
