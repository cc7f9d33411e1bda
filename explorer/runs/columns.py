"""One training example the other way round: its column of the scores, and how often it leads a prediction's list."""

from __future__ import annotations

import dataclasses

import numpy as np
import streamlit as st
import zarr
from scipy import stats

from explorer.runs import cache
from influence.run.reading import Run

LEADING = 10
"""An example leads a prediction if it is among this many of its most helpful or most harmful ones."""
EVERYWHERE, LEAST = 0.99, 0.1
"""An example shows up everywhere if it leads more predictions than this share of the others, and this share of all."""
MOST_READ = 20_000_000
"""Scores that are read to count leads; of a larger array, whole rows are sampled evenly."""


@dataclasses.dataclass(frozen=True)
class Leads:
    """For how many predictions each example leads, int64 (n_examples,), out of `queries` that were looked at."""

    counts: np.ndarray
    queries: int
    sampled: bool


def column(run: Run, stage: str, method: str, position: int) -> np.ndarray:
    """One example's scores for every prediction, float32 (n_queries,), nats, positive = helpful.

    Only the chunks that hold the column are read.

    Raises:
        RunError: the column cannot be read, or holds values that are not finite.
    """
    with cache.reading(run, stage, method):
        scores = np.asarray(cache.array(run, stage, method)[:, position])
    cache.refuse_not_finite(run, stage, method, scores)
    return scores


def percentile(values: np.ndarray, position: int) -> float:
    """Share of the other values that are smaller than the one at `position`, 0..1; ties count half."""
    own = values[position]
    smaller, equal = int((values < own).sum()), int((values == own).sum()) - 1
    return (smaller + equal / 2) / (len(values) - 1) if len(values) > 1 else 0.5


def everywhere(leads: Leads) -> np.ndarray:
    """Which examples show up in so many lists that being in one says little about it, bool (n_examples,)."""
    counts = leads.counts
    if len(counts) < 2:
        return np.zeros(len(counts), dtype=bool)
    places = (stats.rankdata(counts) - 1) / (len(counts) - 1)
    return (places >= EVERYWHERE) & (counts >= LEAST * leads.queries)


def leads(run: Run, stage: str, method: str) -> Leads:
    """How many predictions each example leads; counted once a run, for all visitors.

    Raises:
        RunError: the scores cannot be read, or hold values that are not finite.
    """
    return _leads(run, run.manifest["checksum"], stage, method)


@st.cache_resource(max_entries=16, show_spinner="Counting where each example leads …")
def _leads(_run: Run, checksum: str, stage: str, method: str) -> Leads:
    array = cache.array(_run, stage, method)
    counts, seen = np.zeros(array.shape[1], dtype=np.int64), 0
    with cache.reading(_run, stage, method):
        for rows in blocks(array, MOST_READ):
            scores = np.asarray(array[rows])
            cache.refuse_not_finite(_run, stage, method, scores)
            counts += led(scores, LEADING)
            seen += len(scores)
    counts.flags.writeable = False
    return Leads(counts, seen, seen < array.shape[0])


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
