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
    if not {"x", "y"} <= set(table.columns):
        return None
    sampled = any(record.strongest and record.stage == stage for record in run.manifest.scores)
    return table if len(points(run)) >= (1 if sampled else len(table)) else None


@per_run(max_entries=8)
def points(run: Run) -> np.ndarray:
    """Rows of the examples that have a place on the map, ascending; all of them but in a run with a sample."""
    table = run.examples(run.manifest.map.stage)
    return np.flatnonzero(table[["x", "y"]].notna().all(axis=1))


def point_of(run: Run, row: int | None) -> int | None:
    """Which of the `points` an example is; None: it has no place."""
    found = points(run)
    place = 0 if row is None else int(np.searchsorted(found, row))
    return place if row is not None and place < len(found) and found[place] == row else None


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
