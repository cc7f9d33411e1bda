"""Tables, arrays and tensors of a run, each compared with what the run's other files say of its size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import safetensors
import zarr

from influence.errors import RunError
from influence.run.arrays import WIDEST, open_array, refuse_many_chunks
from influence.run.contents import Contents
from influence.run.parquet.forms import FORMS, Form
from influence.run.parquet.tables import read_table, row_count

if TYPE_CHECKING:
    import torch


class Parts(Contents):
    """The files that run.json lists, read by their kind. Tables are kept once they are read.

    Whatever cannot be read is a RunError that names the file.
    """

    def __init__(self, folder: Path, digests: Mapping[str, str]):
        super().__init__(folder, digests)
        self._tables: dict[str, pd.DataFrame] = {}

    def table(self, name: str, form: Form, places: str = "", rows: Mapping[str, int] | None = None) -> pd.DataFrame:
        """A table, with the columns of its file of places where the run has one; `rows` as of `read_table`."""
        if name not in self._tables:
            table = self.read(name, form, rows or {})
            if places in self:
                found = self.read(places, FORMS["map"], {})
                if len(found) != len(table):
                    raise self.unreadable(places, f"it has {len(found):,} rows for {len(table):,} of {name}")
                table = pd.concat([table.drop(columns=found.columns, errors="ignore"), found], axis=1)
            self._tables[name] = table
        return self._tables[name]

    def read(self, name: str, form: Form, rows: Mapping[str, int], filters: Any = None) -> pd.DataFrame:
        """A table's rows, or those that `filters` name, read now. Arguments as of `read_table`."""
        try:
            with self.opened(name) as file:
                return read_table(file, form, rows, filters)
        except (OSError, ValueError, KeyError) as error:
            raise self.unreadable(name, error) from error

    def rows(self, name: str) -> int:
        """Rows of a table, without reading them."""
        try:
            with self.opened(name) as file:
                return row_count(file)
        except (OSError, ValueError) as error:
            raise self.unreadable(name, error) from error

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
