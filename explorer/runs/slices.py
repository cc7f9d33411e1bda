"""Slices of the test set, and scores summed over one: the numbers behind the Suspects page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import zarr

from explorer.runs import queries, score_arrays
from explorer.runs.cache import per_run
from influence.run import Run

ALL, WRONG, CLASS, CELL, QUERY = "all", "wrong", "class", "cell", "query"

BLOCK_SCORES = 4_000_000
"""Scores read at once, about: 16 MB."""
LARGEST_SHARE = 0.01
"""A self-influence among this share of the largest is a reason to look at an example."""


def slices(table: pd.DataFrame) -> list[str]:
    """The slices of a test set, as the URL has them: all, all wrong, a true class, a cell of the confusion matrix.

    Classes are named by their place in `queries.class_order`. Only slices that hold a query are listed.
    """
    if not queries.classified(table):
        return [ALL]
    counts = queries.confusion(table).to_numpy()
    found = [ALL, WRONG] if (table["prediction"] != table["label"]).any() else [ALL]
    found += [f"{CLASS}-{place}" for place in np.flatnonzero(counts.sum(axis=1))]
    cells = [(int(true), int(said)) for true, said in np.argwhere(counts) if true != said]
    return found + [f"{CELL}-{true}-{said}" for true, said in sorted(cells, key=lambda cell: -counts[cell])]


def rows(table: pd.DataFrame, name: str, query: int) -> np.ndarray:
    """Rows of the queries in slice `name`, ascending; `query` is the row of the chosen prediction."""
    kind, *places = name.split("-")
    if kind == QUERY:
        return np.array([query])
    if kind == ALL:
        return np.arange(len(table))
    if kind == WRONG:
        return np.flatnonzero((table["prediction"] != table["label"]).to_numpy())
    classes = queries.confusion(table).index.tolist()
    keep = (table["label"] == classes[int(places[0])]).to_numpy()
    if kind == CELL:
        keep = keep & (table["prediction"] == classes[int(places[1])]).to_numpy()
    return np.flatnonzero(keep)


@per_run(max_entries=32, show_spinner="Adding up the scores …")
def totals(run: Run, stage: str, method: str, name: str, positions: np.ndarray) -> np.ndarray:
    """Scores of a stage's examples summed over the queries at `positions`, float64 (n_examples,), read-only.

    In nats, positive = helpful. `name` is the slice's name, the cache's key beside `positions`.

    Raises:
        RunError: scores cannot be read, or are not finite.
    """
    with score_arrays.reading(run, stage, method):
        result = summed(score_arrays.array(run, stage, method), positions)
    score_arrays.refuse_not_finite(run, stage, method, result)
    return result


def summed(scores: zarr.Array, positions: np.ndarray | Sequence[int]) -> np.ndarray:
    """Sum of the rows at `positions` (ascending), float64 (n_examples,), read-only; never holds the whole array."""
    wanted, (height, width) = np.asarray(positions, dtype=np.int64), scores.chunks
    result = np.zeros(scores.shape[1])
    span = max(BLOCK_SCORES // (height * width), 1) * width
    for top in np.unique(wanted // height) * height:
        chosen = wanted[(wanted >= top) & (wanted < top + height)]
        first, last = int(chosen[0]), int(chosen[-1]) + 1
        for left in range(0, scores.shape[1], span):
            block = np.asarray(scores[first:last, left : left + span])
            result[left : left + span] += block[chosen - first].sum(axis=0, dtype=np.float64)
    result.flags.writeable = False
    return result


def reasons(examples: pd.DataFrame, positions: np.ndarray) -> list[str]:
    """Reasons to look at each example at `positions`, in words; empty where there is none but its score."""
    table = examples.iloc[positions]
    found: list[list[str]] = [[] for _ in positions]
    if "prediction" in table:
        for place, (said, label) in enumerate(zip(table["prediction"], table["label"], strict=True)):
            if said != label:
                found[place].append("its own model disagrees with its label")
    if "self_influence" in table and examples["self_influence"].notna().any():
        limit = examples["self_influence"].quantile(1 - LARGEST_SHARE)
        for place, value in enumerate(table["self_influence"]):
            if value > limit:
                found[place].append(f"self-influence among the largest {100 * LARGEST_SHARE:.0f} %")
    return ["; ".join(words) for words in found]
