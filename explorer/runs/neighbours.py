"""The examples on the map, and the embedding that the map is made of: nearness in it is compared with influence."""

from __future__ import annotations

import numpy as np
import pandas as pd

from explorer.runs.cache import per_run
from influence.run import Embedding, Run, embedding_of


def mapped(run: Run) -> pd.DataFrame | None:
    """The examples of the stage that is on the map, or None if the run has no map.

    All have a place; of a run that keeps the strongest scores those of the sample have one, and NaN stands for others.
    """
    stage = run.manifest.map.stage
    if stage not in run.stages:
        return None
    table = run.examples(stage)
    placed = table[["x", "y"]].notna().all(axis=1) if {"x", "y"} <= set(table.columns) else None
    sampled = any(record.strongest and record.stage == stage for record in run.manifest.scores)
    return table if placed is not None and (placed.any() if sampled else placed.all()) else None


@per_run(max_entries=4)
def embedding(run: Run) -> Embedding | None:
    """The run's embedding, shared by all visitors; None if it has none.

    Raises:
        RunError: it cannot be read, or does not fit the tables.
    """
    return embedding_of(run)


def random_order(query: int, count: int) -> np.ndarray:
    """All of `count` examples in a random order that is always the same for a query's id."""
    return np.random.default_rng(query % 2**64).permutation(count)


def around(vectors: np.ndarray, position: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` other rows nearest to the one at `position`, nearest first, and their cosines; unit vectors given."""
    cosines = vectors @ vectors[position]
    order = np.argsort(-cosines, kind="stable")
    nearest = order[order != position][:count]
    return nearest, cosines[nearest]
