"""Scores summed over a slice of the test set: the numbers behind the Suspects page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import zarr

from explorer.runs import score_arrays
from explorer.runs.cache import per_run
from influence.run import Run, slice_rows

BLOCK_SCORES = 4_000_000
"""Scores read at once, about: 16 MB."""
LARGEST_SHARE = 0.01
"""A self-influence among this share of the largest is a reason to look at an example."""


@per_run(max_entries=32, show_spinner="Adding up the scores …")
def totals(run: Run, stage: str, method: str, name: str, positions: np.ndarray) -> np.ndarray | None:
    """Scores of a stage's examples summed over the queries at `positions`, (n_examples,), read-only.

    In nats, positive = helpful. `name` is the slice's name, the cache's key beside `positions`. None: the run keeps the
    strongest scores, and not these sums.

    Raises:
        RunError: scores cannot be read, or are not finite.
    """
    kept = score_arrays.known(run, stage, method).kept
    if kept:
        table = run.queries()
        found = next((each for each in kept.slices if np.array_equal(slice_rows(table, each, 0), positions)), None)
        result = None if found is None else kept.slice_sums(found)
        if result is not None:
            score_arrays.refuse_not_finite(run, stage, method, result)
            result.flags.writeable = False
        return result
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
