"""The examples on the map, and the embedding that the map is made of: nearness in it is compared with influence."""

from __future__ import annotations

import numpy as np
import pandas as pd

from explorer.runs.cache import per_run
from influence.run import Embedding, Run, embedding_of


def mapped(run: Run) -> pd.DataFrame | None:
    """The examples that have a place on the map, or None if the run has no map."""
    stage = run.manifest.map.stage
    if stage not in run.stages:
        return None
    table = run.examples(stage)
    return table if {"x", "y"} <= set(table.columns) and table[["x", "y"]].notna().all(axis=None) else None


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
