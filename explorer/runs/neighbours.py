"""The examples on the map, and the embedding that the map is made of: nearness in it is compared with influence."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from explorer.runs.cache import per_run
from influence.errors import RunError
from influence.run import Run


@dataclasses.dataclass(frozen=True)
class Embedding:
    """Unit vectors of a stage's examples and of the queries, float32 and read-only: all visitors share them."""

    examples: np.ndarray
    queries: np.ndarray

    def cosines(self, position: int) -> np.ndarray:
        """Cosine of each example with the query at `position`, float32 (n_examples,)."""
        return self.examples @ self.queries[position]


def mapped(run: Run) -> pd.DataFrame | None:
    """The examples that have a place on the map, or None if the run has no map."""
    stage = run.manifest.map.stage
    if stage not in run.stages:
        return None
    table = run.examples(stage)
    return table if {"x", "y"} <= set(table.columns) and table[["x", "y"]].notna().all(axis=None) else None


@per_run(max_entries=4)
def embedding(run: Run) -> Embedding | None:
    """The run's embedding; None if it has none.

    Raises:
        RunError: it cannot be read, or does not fit the tables.
    """
    stage = run.manifest.map.stage
    if stage not in run.stages or (arrays := run.embedding()) is None:
        return None
    try:
        examples, queries = (np.asarray(array[:], dtype=np.float32) for array in arrays)
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"The embedding of run {run.name} cannot be read: {error}") from error
    rows = (len(run.examples(stage)), len(run.queries()))
    if examples.ndim != 2 or queries.ndim != 2 or (len(examples), len(queries)) != rows:
        raise RunError(f"The embedding of run {run.name} has shapes {examples.shape} and {queries.shape}, not {rows}.")
    if examples.shape[1] != queries.shape[1] or not (np.isfinite(examples).all() and np.isfinite(queries).all()):
        raise RunError(f"The embedding of run {run.name} holds vectors of other lengths, or that are not finite.")
    return Embedding(unit(examples), unit(queries))


def unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors at length 1, read-only; one of length 0 stays as it is, near to nothing."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    result.flags.writeable = False
    return result


def random_order(query: int, count: int) -> np.ndarray:
    """All of `count` examples in a random order that is always the same for a query's id."""
    return np.random.default_rng(query % 2**64).permutation(count)


def around(vectors: np.ndarray, position: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` other rows nearest to the one at `position`, nearest first, and their cosines; unit vectors given."""
    cosines = vectors @ vectors[position]
    order = np.argsort(-cosines, kind="stable")
    nearest = order[order != position][:count]
    return nearest, cosines[nearest]
