"""How often each training example leads a prediction's list, and the examples that lead nearly everywhere."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import zarr

from explorer.runs import score_arrays
from explorer.runs.cache import per_run
from influence.run import Kept, Run

LEADING_RANK = 10
"""An example leads a prediction if it is among this many of its most helpful or most harmful ones."""
EVERYWHERE_QUANTILE, LEAST_SHARE = 0.99, 0.1
"""An example shows up everywhere if it leads more predictions than this share of the others, and this share of all."""
MOST_SCORES = 20_000_000
"""At most so many scores are read to count leads; of a larger array, whole rows are sampled evenly."""


@dataclasses.dataclass(frozen=True)
class Leads:
    """For how many predictions each example leads, int64 (n_examples,), out of `queries` that were looked at."""

    counts: np.ndarray
    queries: int
    sampled: bool


def everywhere(leads: Leads) -> np.ndarray:
    """Mask of the examples that lead so many lists that one more means little, bool (n_examples,)."""
    counts = leads.counts
    if len(counts) < 2:
        return np.zeros(len(counts), dtype=bool)
    places = (pd.Series(counts).rank().to_numpy() - 1) / (len(counts) - 1)
    return (places >= EVERYWHERE_QUANTILE) & (counts >= LEAST_SHARE * leads.queries)


@per_run(max_entries=16, show_spinner="Counting where each example leads …")
def counted(run: Run, stage: str, method: str) -> Leads:
    """How many predictions each example leads; counted once a run, for all visitors.

    Raises:
        RunError: the scores cannot be read, or hold values that are not finite.
    """
    kept = score_arrays.known(run, stage, method).kept
    if kept:
        counts = leading(kept)
        counts.flags.writeable = False
        return Leads(counts, kept.queries, False)
    array = score_arrays.array(run, stage, method)
    counts, seen = np.zeros(array.shape[1], dtype=np.int64), 0
    with score_arrays.reading(run, stage, method):
        for rows in blocks(array, MOST_SCORES):
            scores = np.asarray(array[rows])
            score_arrays.refuse_not_finite(run, stage, method, scores)
            counts += led(scores, LEADING_RANK)
            seen += len(scores)
    counts.flags.writeable = False
    return Leads(counts, seen, seen < array.shape[0])


def leading(kept: Kept) -> np.ndarray:
    """For how many queries each example is among the first of their strongest of either sign, as far as they are kept.

    The whole of what is kept is read, since its examples may be any.
    """
    queries, rows, scores = kept.every_strongest
    starts = np.searchsorted(queries, np.arange(kept.queries + 1))
    place = np.arange(len(rows))
    # The largest score of a query stands first, so that the most harmful ones are its last.
    helpful = (place - starts[queries] < LEADING_RANK) & (scores > 0)
    harmful = (starts[queries + 1] - place <= LEADING_RANK) & (scores < 0)
    return np.bincount(rows[helpful | harmful], minlength=kept.count)


def blocks(array: zarr.Array, most: int) -> list[slice]:
    """Rows of the array, a row of chunks at a time; evenly spread ones if all of them would be over `most` scores."""
    rows, wide = array.shape
    high = array.chunks[0]
    every = [slice(start, min(start + high, rows)) for start in range(0, rows, high)]
    count = max(1, most // max(1, wide * high))
    if count >= len(every):
        return every
    return [every[place] for place in np.linspace(0, len(every) - 1, count).round().astype(int)]


def led(scores: np.ndarray, k: int) -> np.ndarray:
    """For how many rows each column is among the k largest positive or the k smallest negative scores."""
    counts = np.zeros(scores.shape[1], dtype=np.int64)
    for signed in (scores, -scores):
        first = np.argpartition(-signed, min(k, signed.shape[1]) - 1, axis=1)[:, :k]
        positive = np.take_along_axis(signed, first, axis=1) > 0
        counts += np.bincount(first[positive], minlength=scores.shape[1])
    return counts
