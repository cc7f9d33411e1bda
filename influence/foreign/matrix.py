"""`Matrix`: scores as another tool wrote them, read a block of rows at a time, so that they need not fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from influence.errors import ScoresError

QUERIES, EXAMPLES = "queries", "examples"
"""What the rows of a matrix may be."""
LARGER, SMALLER = "larger", "smaller"
"""Which scores mean helpful."""
Blocks = Callable[[int], Iterator[np.ndarray]]
"""Number of rows -> all rows in order, so many at a time (the last block may have fewer), of real numbers."""


@dataclass(frozen=True)
class Matrix:
    """Scores of every pair of a query and a training example.

    Attributes:
        shape: rows and columns.
        blocks: reads them.
        rows: what the rows are, `QUERIES` or `EXAMPLES`, where the form says so; else "".
        helpful: which scores are helpful, `LARGER` or `SMALLER`, where the form says so; else "".
        tool: that wrote them, where the form says so; else "".
        ids: of the rows, where the form names them.
        notes: what was done to read them, a sentence each.
        doubts: why the sign may be another, where no person says it.
    """

    shape: tuple[int, int]
    blocks: Blocks
    rows: str = ""
    helpful: str = ""
    tool: str = ""
    ids: Sequence[int] | None = None
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def oriented(self, name: str, queries: int, examples: int, rows: str | None = None) -> Matrix:
        """The matrix with its `rows` known, by the form, by `rows` or by its shape.

        Args:
            name: of the file, for messages.
            queries: how many the tables have.
            examples: the same.
            rows: what a person says that its rows are.

        Raises:
            ScoresError: the shape does not fit the tables, fits both ways, or is not what is said.
        """
        ways = {QUERIES: (queries, examples), EXAMPLES: (examples, queries)}
        fitting = [way for way, shape in ways.items() if shape == self.shape]
        shown = " x ".join(f"{size:,}" for size in self.shape)
        if not fitting:
            raise ScoresError(
                f"{name} has {shown} scores, the tables have {queries:,} queries and {examples:,} examples; expected "
                f"{queries:,} x {examples:,}, or the other way round. Give the tables that the scores are of, with a "
                "row for every query and every example."
            )
        stated = rows or self.rows
        if stated and stated not in fitting:
            raise ScoresError(
                f"{name} has {shown} scores, whose rows cannot be the {stated}: the tables have {queries:,} queries "
                f"and {examples:,} examples. "
                + ("Leave out --rows." if rows else "Are the tables given the wrong way round?")
            )
        if not stated and len(fitting) > 1:
            raise ScoresError(
                f"{name} has {shown} scores, and the tables have as many queries as examples, so that its shape does "
                "not tell what its rows are. Say --rows queries or --rows examples."
            )
        return replace(self, rows=stated or fitting[0])


def of_array(array: Any, name: str, again: Callable[[], Any] | None = None, **known: Any) -> Matrix:
    """The matrix of an array in memory, or mapped from a file; one of one dimension is a row.

    Args:
        array: of real numbers.
        name: of the file, for messages.
        again: maps the same array anew; it is done for every block, so that what was read of a file does not stay in
            memory.
        known: attributes of the matrix.

    Raises:
        ScoresError: it has other dimensions, or other values than real numbers.
    """
    if array.dtype.kind not in "fiub":
        raise ScoresError(f"{name} holds {array.dtype}, expected real numbers.")
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise shape_error(name, array.shape)
    rows, columns = (1, *array.shape) if array.ndim == 1 else array.shape

    def blocks(height: int) -> Iterator[np.ndarray]:
        for start in range(0, rows, height):
            mapped = (again or (lambda: array))()
            yield np.asarray(mapped.reshape(1, -1) if mapped.ndim == 1 else mapped[start : start + height])

    return Matrix((int(rows), int(columns)), blocks, **known)


def shape_error(name: str, shape: Sequence[int]) -> ScoresError:
    """The error of an array that is no matrix of scores."""
    found = " x ".join(map(str, shape)) or "no dimension"
    why = "Scores of single tokens are to be summed over each text first." if len(shape) == 3 else ""
    return ScoresError(
        f"{name} has the shape {found}, expected queries x examples, or the other way round. {why}".strip()
    )


def float32(raw: np.ndarray, kind: str) -> np.ndarray:
    """Numbers as NumPy knows them; those of bfloat16, which it does not, come as their 16 bits."""
    return (raw.astype(np.uint32) << 16).view(np.float32) if kind == "bfloat16" else raw
