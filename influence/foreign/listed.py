"""Scores in Parquet and JSON lines: a row of numbers a line, or a line for each pair of a query and an example."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from influence.errors import ScoresError, printable
from influence.foreign.arrays import unreadable
from influence.foreign.matrix import QUERIES, Matrix, of_array

PAIR = ("query", "example", "score")
"""Columns, or keys, of a list of pairs: two ids and a number."""
SCORES, ID = "scores", "id"
"""Column, or key, of a row's numbers, and of its id, which is not needed."""
MOST_PAIRS = 2**28
"""Pairs that are put in order in memory: 1 GiB. More are given as a matrix."""
LONGEST_LINE = 2**28
"""Characters of a line."""


class _Pairs:
    """A matrix (queries, examples) that is filled pair by pair."""

    def __init__(self, name: str, queries: Sequence[int], examples: Sequence[int]):
        if len(queries) * len(examples) > MOST_PAIRS:
            raise ScoresError(
                f"{name} lists pairs, and the tables make {len(queries) * len(examples):,} of them; up to "
                f"{MOST_PAIRS:,} are put in order. Give the scores as a matrix, .npy for instance."
            )
        self.name, self.queries, self.examples = name, _places(queries), _places(examples)
        self.values = np.full((len(queries), len(examples)), np.nan, np.float32)
        self.seen = np.zeros(self.values.shape, dtype=bool)

    def put(self, query: Any, example: Any, score: Any, where: str) -> None:
        try:
            place = self.queries[_id(query)], self.examples[_id(example)]
        except (KeyError, ValueError) as error:
            raise ScoresError(
                f"{self.name}, {where}: query {query!r} and example {example!r} are no pair of ids of the tables."
            ) from error
        if self.seen[place]:
            raise ScoresError(f"{self.name}, {where}: query {query!r} and example {example!r} stand there twice.")
        self.values[place], self.seen[place] = _numbers([score], self.name, where)[0], True

    def matrix(self) -> Matrix:
        missing = int((~self.seen).sum())
        if missing:
            query, example = np.argwhere(~self.seen)[0]
            raise ScoresError(
                f"{self.name} lacks {missing:,} of {self.seen.size:,} pairs of a query and an example, the first of "
                f"query {list(self.queries)[query]} and example {list(self.examples)[example]}. Give a score for every "
                "pair."
            )
        return of_array(self.values, self.name, rows=QUERIES)


def parquet_matrix(path: Path, queries: Sequence[int], examples: Sequence[int]) -> Matrix:
    """A column `scores` of lists; columns query, example and score; or a column of numbers for each of the others.

    Raises:
        ScoresError: it is damaged, holds other kinds, rows of other lengths, or pairs that do not fit the tables.
    """
    name = printable(path)
    try:
        file = pq.ParquetFile(path, pre_buffer=False)
        if set(PAIR) <= set(file.schema_arrow.names):
            return _parquet_pairs(file, _Pairs(name, queries, examples))
        return _parquet_rows(path, file, name)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(name, error) from error


def _parquet_pairs(file: pq.ParquetFile, pairs: _Pairs) -> Matrix:
    number = 0
    for batch in file.iter_batches(columns=list(PAIR)):
        for query, example, score in zip(*(batch.column(each).to_pylist() for each in PAIR), strict=True):
            pairs.put(query, example, score, f"row {number}")
            number += 1
    return pairs.matrix()


def _parquet_rows(path: Path, file: pq.ParquetFile, name: str) -> Matrix:
    schema, rows = file.schema_arrow, file.metadata.num_rows
    chosen = [SCORES] if SCORES in schema.names else [each for each in schema.names if each != ID]
    listed = len(chosen) == 1 and _is_list(schema.field(chosen[0]).type)
    if other := [each for each in chosen if not listed and not _is_number(schema.field(each).type)]:
        raise ScoresError(
            f"{name}: column {other[0]!r} holds {schema.field(other[0]).type}, expected numbers: a column for each "
            f"query or example, one of lists called {SCORES!r}, or the columns {', '.join(PAIR)}."
        )
    if not rows or not chosen:
        raise ScoresError(f"{name} holds no scores.")
    ids = None
    if ID in schema.names:
        ids = [_row_id(each, name, i) for i, each in enumerate(file.read([ID]).column(ID).to_pylist())]
    width = len(next(_list_rows(path, chosen[0])) or ()) if listed else len(chosen)

    def blocks(height: int) -> Iterator[np.ndarray]:
        if listed:
            yield from _gathered(_list_rows(path, chosen[0]), width, height, name)
            return
        for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(height, columns=chosen):
            columns = [batch.column(each).cast(pa.float64()) for each in chosen]
            yield np.stack([each.to_numpy(zero_copy_only=False) for each in columns], axis=1)

    return Matrix((int(rows), width), blocks, ids=ids)


def json_matrix(path: Path, queries: Sequence[int], examples: Sequence[int]) -> Matrix:
    """A list of numbers a line, an object with `scores` a line, or objects with query, example and score.

    Raises:
        ScoresError: a line is none of these, rows have other lengths, or pairs do not fit the tables.
    """
    name = printable(path)
    first = next(_lines(path, name), None)
    if first is None:
        raise ScoresError(f"{name} holds no scores.")
    if isinstance(first, dict) and set(PAIR) <= first.keys():
        pairs = _Pairs(name, queries, examples)
        for number, line in enumerate(_lines(path, name), start=1):
            if not isinstance(line, dict) or not set(PAIR) <= line.keys():
                raise ScoresError(f"{name}, line {number}: expected an object with {', '.join(PAIR)}.")
            query, example, score = (line[key] for key in PAIR)
            pairs.put(query, example, score, f"line {number}")
        return pairs.matrix()
    rows, ids = 0, []
    for line in _lines(path, name):
        rows += 1
        if isinstance(line, dict) and ID in line:
            ids.append(_row_id(line[ID], name, rows))
    if ids and len(ids) < rows:
        raise ScoresError(f"{name}: {rows - len(ids):,} of {rows:,} lines have no id. Give all of them one, or none.")

    def blocks(height: int) -> Iterator[np.ndarray]:
        yield from _gathered(map(_row_of, _lines(path, name)), width, height, name)

    width = len(_row_of(first) or ())
    if not width:
        raise ScoresError(
            f"{name}, line 1: expected a list of numbers, an object with {SCORES!r}, or one with {', '.join(PAIR)}."
        )
    return Matrix((rows, width), blocks, ids=ids or None)


def _gathered(rows: Iterator[Any], width: int, height: int, name: str) -> Iterator[np.ndarray]:
    """Rows of numbers as blocks; each must have the `width` of the first."""
    held: list[np.ndarray] = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list) or len(row) != width:
            found = f"{len(row):,} scores" if isinstance(row, list) else "no list of scores"
            raise ScoresError(f"{name}, row {number}: {found}, where the first row has {width:,}.")
        held.append(_numbers(row, name, f"row {number}"))
        if len(held) == height:
            yield np.stack(held)
            held = []
    if held:
        yield np.stack(held)


def _numbers(values: Sequence[Any], name: str, where: str) -> np.ndarray:
    for value in values:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ScoresError(f"{name}, {where}: {str(value)[:40]!r} is no number.")
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _row_of(line: Any) -> Any:
    return line.get(SCORES) if isinstance(line, dict) else line


def _lines(path: Path, name: str) -> Iterator[Any]:
    """What each line that is not blank says."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            number = 0
            while line := file.readline(LONGEST_LINE):
                number += 1
                if len(line) == LONGEST_LINE:
                    raise ScoresError(f"{name}, line {number} has more than {LONGEST_LINE:,} characters.")
                if line.strip():
                    yield json.loads(line)
    except UnicodeDecodeError as error:
        raise ScoresError(f"{name} is no UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise ScoresError(f"{name}, line {number} is no JSON ({printable(str(error))}).") from error


def _list_rows(path: Path, column: str) -> Iterator[Any]:
    for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(64, columns=[column]):
        yield from batch.column(0).to_pylist()


def _places(ids: Sequence[int]) -> dict[int, int]:
    return {int(each): place for place, each in enumerate(ids)}


def _id(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError
    return int(value)


def _row_id(value: Any, name: str, number: int) -> int:
    try:
        return _id(value)
    except ValueError as error:
        raise ScoresError(f"{name}, row {number}: the id {str(value)[:40]!r} is no whole number.") from error


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _is_list(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_one(kind) for is_one in lists) and _is_number(kind.value_type)
