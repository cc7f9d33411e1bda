"""`StageScores`: what is shown of a stage's scores by a method, the same whether a run keeps all or the strongest."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import zarr

from influence.run.kept.histogram import shown
from influence.run.kept.kept import Kept
from influence.run.lists.ranking import top
from influence.run.reading import Run


class StageScores:
    """A stage's scores by a method, nats, positive = helpful.

    Args:
        run: that holds them.
        stage, method: which.

    Raises:
        RunError: there are none. Every method raises it of what cannot be read.
    """

    def __init__(self, run: Run, stage: str, method: str):
        self.kept: Kept | None = run.kept(stage, method)
        self._all: zarr.Array | None = None if self.kept else run.scores(stage, method)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Queries and examples."""
        if self.kept:
            return self.kept.queries, self.kept.count
        assert self._all is not None
        return self._all.shape[0], self._all.shape[1]

    @property
    def most(self) -> int:
        """How many examples of either sign a query's list can hold."""
        return self.kept.most if self.kept else self.shape[1]

    @property
    def lacks(self) -> str:
        """What is not kept, in a sentence, and how it is had; "": all is."""
        if not self.kept or len(self.kept.sample) == self.shape[1]:
            return ""
        return (
            f"This run keeps the {self.kept.most:,} strongest scores of either sign of each prediction, and all scores "
            f"of a random {len(self.kept.sample):,} of {self.shape[1]:,} examples; upstream precompute --keep all "
            "computes a run that keeps all."
        )

    def row(self, query: int) -> np.ndarray:
        """One query's scores, float32 (m,); NaN where they are not kept."""
        if self._all is not None:
            return np.asarray(self._all[query])
        assert self.kept is not None
        found = np.full(self.shape[1], np.nan, np.float32)
        found[self.kept.sample] = self.kept.sampled[query]
        rows, scores = self.kept.strongest(query)
        found[rows] = scores
        return found

    def column(self, example: int) -> np.ndarray:
        """One example's scores for every query, float32 (Q,); NaN where they are not kept."""
        if self._all is not None:
            return np.asarray(self._all[:, example])
        assert self.kept is not None
        place = np.searchsorted(self.kept.sample, example)
        if place < len(self.kept.sample) and self.kept.sample[place] == example:
            return np.asarray(self.kept.sampled[:, int(place)])
        queries, rows, scores = self.kept.every_strongest
        found = np.full(self.shape[0], np.nan, np.float32)
        found[queries[rows == example]] = scores[rows == example]
        return found

    def lists(self, query: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the `count` most helpful and most harmful examples of one query, of all, as far as they are kept."""
        if self._all is not None:
            scores = np.asarray(self._all[query])
            return top(scores, count), top(scores, count, helpful=False)
        assert self.kept is not None
        rows, scores = self.kept.strongest(query)
        return rows[top(scores, count)], rows[top(scores, count, helpful=False)]

    def histogram(self, query: int, bars: int) -> tuple[np.ndarray, np.ndarray]:
        """Counts and edges of all of one query's scores, from -largest to largest."""
        scores = np.asarray(self._all[query]) if self._all is not None else self._strongest(query)
        limit = float(np.abs(scores).max(initial=0.0))
        limit = limit if limit >= np.finfo(np.float32).tiny else 1.0  # the bars could not be told apart
        if self.kept:
            return shown(*self.kept.counts(query), limit, bars)
        return np.histogram(scores, bins=bars, range=(-limit, limit))

    def absolute(self, query: int) -> float:
        """Sum of the absolute values of all of one query's scores."""
        if self._all is not None:
            return float(np.abs(np.asarray(self._all[query])).sum(dtype=np.float64))
        assert self.kept is not None
        found = self.kept.totals(query)
        return 0.0 if found is None else float((found["helpful"] - found["harmful"]).sum())

    def _strongest(self, query: int) -> np.ndarray:
        assert self.kept is not None
        return self.kept.strongest(query)[1]
