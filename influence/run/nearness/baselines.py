"""The simpler scores that a run offers, by name: nearness of words, of gradients, in the embedding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from influence.run.files import embedding_file
from influence.run.nearness.bm25 import Bm25
from influence.run.nearness.embedding import embedding_of
from influence.run.reading import UNITLESS, Run

BM25, COSINE, NEIGHBOURS = "BM25", "gradient cosine", "embedding neighbours"
OWN = "the run's own"
"""What the run's scores are called beside them."""
Baseline = Callable[[int], np.ndarray]
"""Row of a query -> (m,), a number of every example, the largest ones first; nats mean nothing here."""


def baselines(run: Run, stage: str) -> dict[str, Callable[[], Baseline]]:
    """Name -> what makes a stage's baseline ready; those that the run has what is needed for.

    - `BM25`, of texts: words that the query shares with the example (`Bm25`).
    - `gradient cosine`: of the query's gradient, pulled back to the stage without any curvature, and the example's: the
      score of `identity` over the example's gradient norm. The query's own norm, equal for all examples, is left out.
    - `embedding neighbours`: cosine in the embedding that the map is made of.
    """
    found: dict[str, Callable[[], Baseline]] = {}
    examples = run.examples(stage)
    if "text" in examples and "text" in run.queries():
        found[BM25] = lambda: _by_words(run, stage)
    if "gradient_norm" in examples and UNITLESS in run.methods(stage) and run.kept(stage, UNITLESS) is None:
        found[COSINE] = lambda: _by_gradients(run, stage)
    if run.manifest.map.stage == stage and f"{embedding_file('examples')}/zarr.json" in run.manifest.files:
        found[NEIGHBOURS] = lambda: _by_embedding(run)
    return found


def _by_words(run: Run, stage: str) -> Baseline:
    index, queries = Bm25(run.examples(stage)["text"].fillna("").tolist()), run.queries()["text"].fillna("").tolist()
    return lambda query: index.scores(queries[query])


def _by_gradients(run: Run, stage: str) -> Baseline:
    products, norms = run.scores(stage, UNITLESS), run.examples(stage)["gradient_norm"].to_numpy(np.float64)

    def cosines(query: int) -> np.ndarray:
        row = np.asarray(products[query], dtype=np.float64)
        return np.divide(row, norms, out=np.zeros_like(row), where=norms > 0)

    return cosines


def _by_embedding(run: Run) -> Baseline:
    embedding = embedding_of(run)
    assert embedding is not None  # it is listed
    return embedding.cosines
