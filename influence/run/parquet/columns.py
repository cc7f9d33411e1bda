"""Columns of a table that stay in its file: pictures and texts, read a group of rows at a time."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Self

import numpy as np
from pandas.api.extensions import ExtensionArray, ExtensionDtype

HELD = 32
"""Groups of rows of a column that are held at a time, those read last: some 1 MB each."""
Read = Callable[[int], np.ndarray]


class InFile(ExtensionDtype):
    """Values that are read when they are looked at."""

    name = "in file"
    type = object
    kind = "O"
    na_value = None

    @classmethod
    def construct_array_type(cls) -> builtins.type[FileColumn]:
        return FileColumn


class FileColumn(ExtensionArray):
    """Values at some places of a column, or at all; rows can be chosen without reading them.

    Args:
        read: group of rows -> its values, as objects. Called again for groups that were not looked at for long.
        starts: first row of each group, and the number of all rows.
        places: rows of the values.
    """

    dtype = InFile()

    def __init__(self, read: Read, starts: np.ndarray, places: np.ndarray):
        self._read, self._starts, self._places = read, starts, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, int | np.integer):
            row = int(self._places[item])
            group = int(np.searchsorted(self._starts, row, side="right")) - 1
            return self._read(group)[row - self._starts[group]]
        chosen = self._places[np.asarray(item, dtype=bool) if getattr(item, "dtype", None) == "boolean" else item]
        return type(self)(self._read, self._starts, chosen)

    def __iter__(self) -> Iterator[Any]:
        return (self[place] for place in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = np.empty(len(self), dtype=object)
        groups = np.searchsorted(self._starts, self._places, side="right") - 1
        for group in np.unique(groups):
            of = np.flatnonzero(groups == group)
            found[of] = self._read(int(group))[self._places[of] - self._starts[group]]
        return found if dtype is None else found.astype(dtype)

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> Any:
        indices = np.asarray(indices, dtype=np.int64)
        if allow_fill and (indices < 0).any():
            raise ValueError("rows that are not in the file cannot be taken from it")
        return self[indices]

    def isna(self) -> np.ndarray:
        return np.zeros(len(self), dtype=bool)  # empty entries of texts are read as ""

    def copy(self) -> Self:
        return self  # nothing in it can be set

    @property
    def nbytes(self) -> int:
        return int(self._places.nbytes)

    @classmethod
    def _from_sequence(cls, scalars: Any, *, dtype: Any = None, copy: bool = False) -> Self:
        values = np.empty(len(scalars), dtype=object)
        values[:] = list(scalars)
        return cls(lambda _: values, np.array([0, len(values)]), np.arange(len(values)))

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[FileColumn]) -> Self:
        return cls._from_sequence(np.concatenate([np.asarray(each) for each in to_concat]))


def in_file(read: Read, rows: Sequence[int]) -> FileColumn:
    """A whole column whose groups have so many rows each."""
    starts = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
    return FileColumn(lru_cache(HELD)(read), starts, np.arange(starts[-1]))
