"""Nearness in the embedding that a run's map is made of."""

from __future__ import annotations

import dataclasses

import numpy as np

from influence.errors import RunError
from influence.run.reading import Run


@dataclasses.dataclass(frozen=True)
class Embedding:
    """Unit vectors of a stage's examples (n, d) and of the queries (Q, d), float32 and read-only."""

    examples: np.ndarray
    queries: np.ndarray

    def cosines(self, position: int) -> np.ndarray:
        """Cosine of each example with the query at `position`, float32 (n,)."""
        return self.examples @ self.queries[position]


def embedding_of(run: Run) -> Embedding | None:
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
    return Embedding(unit_vectors(examples), unit_vectors(queries))


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """The rows of (n, d) at length 1, read-only; one of length 0 stays as it is, near to nothing."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    result.flags.writeable = False
    return result
