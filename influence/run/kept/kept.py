"""`Kept`: what a run that keeps the strongest scores has of a stage's scores by a method."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pandas as pd
import zarr

from influence.run.files import (
    QUERIES_FILE,
    examples_file,
    groups_file,
    sample_file,
    scores_file,
    slices_method,
    strongest_file,
    totals_file,
)
from influence.run.kept.histogram import BARS
from influence.run.parquet.forms import EXAMPLES, FORMS, QUERIES
from influence.run.parts import Parts
from influence.run.records import ScoreRecord


class Kept:
    """The strongest scores of each query, all of a sample, and sums over all. Get one by `Run.kept`.

    Whatever cannot be read, or is not of the form that CONTRACT.md gives, is a RunError that names the file.

    Attributes:
        most: so many scores of either sign are kept of every query; of one that has fewer, all.
        slices: names of the slices of the queries over which each example's scores are summed.
    """

    def __init__(self, parts: Parts, record: ScoreRecord):
        self._parts, self._stage, self._method = parts, record.stage, record.method
        self.most, self.slices = record.strongest, list(record.slices)

    @cached_property
    def count(self) -> int:
        """Examples of the stage."""
        return self._parts.rows(examples_file(self._stage))

    @cached_property
    def queries(self) -> int:
        """Queries of the run."""
        return self._parts.rows(QUERIES_FILE)

    def strongest(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of one query's strongest examples, and their scores, nats: the largest first, of equal ones by row."""
        queries, rows, scores = self.every_strongest
        first, last = np.searchsorted(queries, (query, query + 1))
        return rows[first:last], scores[first:last]

    @cached_property
    def sample(self) -> np.ndarray:
        """Rows of the examples of which all scores are kept, ascending."""
        name = sample_file(self._stage)
        table = self._parts.table(name, FORMS["sample"], rows={EXAMPLES: self.count})
        return np.sort(table["example"].to_numpy())

    @cached_property
    def sampled(self) -> zarr.Array:
        """Scores of the `sample`, float32 (Q, s), lazily read."""
        name = scores_file(self._stage, self._method)
        return self._parts.array(name, QUERIES_FILE, sample_file(self._stage))

    def slice_sums(self, name: str) -> np.ndarray | None:
        """Each example's scores summed over a slice of the queries, float32 (m,); None: they are not kept."""
        if name not in self.slices:
            return None
        file = scores_file(self._stage, slices_method(self._method))
        array = self._parts.array(file, len(self.slices), examples_file(self._stage))
        return np.asarray(array[self.slices.index(name)])

    def counts(self, query: int) -> tuple[np.ndarray, float]:
        """The histogram of all of one query's scores: counts (2048,) of bars of a width, half of them below zero."""
        row = self._totals.iloc[query]
        counts, width = np.asarray(row["counts"]), float(row["width"])
        if len(counts) != BARS or not 0 < width < np.inf:
            raise self._parts.unreadable(
                totals_file(self._stage, self._method), f"row {query} has {len(counts)} bars of width {width}"
            )
        return counts, width

    def totals(self, query: int, by: str = "") -> pd.DataFrame | None:
        """Sums of one query's helpful and harmful scores by "label" or "source", "": of all; indexed by group.

        Columns are `helpful`, `harmful`, `examples` and `net`. None where there are too many groups.
        """
        row, groups = self._totals.iloc[query], self._groups
        helpful, harmful = np.asarray(row["helpful"], np.float64), np.asarray(row["harmful"], np.float64)
        if not len(helpful) == len(harmful) == len(groups):
            raise self._parts.unreadable(
                totals_file(self._stage, self._method), f"row {query} has {len(helpful)} sums of {len(groups)} groups"
            )
        chosen = np.flatnonzero((groups["by"] == by).to_numpy())
        if not len(chosen):
            return None
        found = pd.DataFrame(
            {"helpful": helpful[chosen], "harmful": harmful[chosen], "examples": groups["count"].to_numpy()[chosen]},
            index=pd.Index(groups["group"].to_numpy()[chosen], name="group"),
        )
        return found[found["examples"] > 0].assign(net=found["helpful"] + found["harmful"])

    @cached_property
    def _groups(self) -> pd.DataFrame:
        return self._parts.table(groups_file(self._stage), FORMS["groups"])

    @cached_property
    def _totals(self) -> pd.DataFrame:
        name = totals_file(self._stage, self._method)
        table = self._parts.table(name, FORMS["totals"])
        if len(table) != self.queries:
            raise self._parts.unreadable(name, f"it has {len(table):,} rows for {self.queries:,} queries")
        return table

    @cached_property
    def every_strongest(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(queries, rows, scores) of all that `strongest` gives, query by query: 16 bytes a score, read at once."""
        name, rows = strongest_file(self._stage, self._method), {QUERIES: self.queries, EXAMPLES: self.count}
        table = self._parts.read(name, FORMS["kept"], rows)
        queries, examples, scores = (table[column].to_numpy() for column in ("query", "example", "score"))
        if not np.isfinite(scores).all():
            raise self._parts.unreadable(name, "it holds scores that are not finite")
        order = _order(queries, scores.astype(np.float32))
        return queries[order].astype(np.int32), examples[order], scores[order].astype(np.float32)


def _order(queries: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Query by query, the largest of its float32 scores first, equal ones as they stand.

    By one whole number each, since those of a file are in order but for runs that stand the other way round, which a
    stable sort of numbers soon has in order.
    """
    bits = scores.view(np.int32).astype(np.int64)
    rising = np.where(bits < 0, -(bits + 2**31), bits)
    return np.argsort((queries.astype(np.int64) << 32) - rising, kind="stable")
