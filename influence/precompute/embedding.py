"""Embeddings of examples and queries, and their two-dimensional map."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from influence.derivatives import Objective
from influence.derivatives.batches import on_device
from influence.derivatives.eager import eager
from influence.precompute.neighbour_graph import neighbour_graph
from influence.study.copies import copied

if TYPE_CHECKING:
    from influence.studies.exhibit import Exhibit

NEIGHBOURS = 15
PLACING_NEIGHBOURS = 5
"""A new point is placed on the map at the mean of this many nearest neighbours."""
MAX_COMPARED = 100_000
"""Number of vectors up to which all pairs are compared, for exact neighbours."""


def embed(
    objective: Objective,
    data: Any,
    embedding: Callable[[nn.Module, Any], torch.Tensor],
    reader: Objective | None = None,
) -> np.ndarray:
    """`embedding(model, batch)` -> (B, d) of all examples of `data`, as float32 (n, d).

    The model is that of `objective`; batches are made as `reader`, by default the same, makes them.
    """
    # As everywhere: in evaluation mode, on a copy, so that the user's model stays as it is.
    model = copied(objective.stage.model).eval()
    device = next(model.parameters()).device
    rows = []
    with torch.no_grad(), eager():
        for _, batch in (reader or objective).batches(data):
            batch = on_device(batch, device)
            rows.append(embedding(model, batch).flatten(1).float().cpu().numpy())
    return np.concatenate(rows)


def embedded(
    exhibit: Exhibit, objectives: Sequence[Objective], rows: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The first stage's examples (those at `rows`) and the queries as vectors, (m, d) and (Q, d), float32."""
    study = exhibit.study
    chosen = np.arange(len(study.stages[0].data)) if rows is None else rows
    if exhibit.vectors is not None:
        examples, queries = exhibit.examples[study.stages[0].name]["text"].iloc[chosen], exhibit.queries["text"]
        return exhibit.vectors(examples.tolist()), exhibit.vectors(queries.tolist())
    assert exhibit.embedding is not None
    return (
        embed(objectives[0], _part(study.stages[0].data, rows), exhibit.embedding),
        embed(objectives[0], study.queries, exhibit.embedding, objectives[-1]),
    )


def _part(data: Any, rows: np.ndarray | None) -> Any:
    return data if rows is None else torch.utils.data.Subset(data, rows.tolist())


def map_of(vectors: np.ndarray, others: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Places of `vectors` (n, d) on a map, and of `others` projected into it: (n, 2), (k, 2), the algorithm's name.

    The map is a seeded UMAP, so the same vectors give the same map. Other vectors are placed at the mean of their
    nearest ones (with more than `MAX_COMPARED` vectors, where UMAP places them). Fewer than 10 vectors are projected
    onto their two main directions.
    """
    if len(vectors) < 10:
        mean = vectors.mean(0)
        _, _, directions = np.linalg.svd(vectors - mean, full_matrices=False)
        flat = np.zeros((vectors.shape[1], 2), dtype=np.float32)
        flat[:, : len(directions[:2])] = directions[:2].T
        return (vectors - mean) @ flat, (others - mean) @ flat, "PCA"
    count = min(NEIGHBOURS, len(vectors) - 1)
    with warnings.catch_warnings(), _same_threads():
        warnings.simplefilter("ignore")  # that a seed means one thread, and numba's own deprecations
        places, projected = (_compared if len(vectors) <= MAX_COMPARED else _searched)(vectors, others, count, seed)
    return places.astype(np.float32), projected.astype(np.float32), f"UMAP, {count} neighbours"


@contextmanager
def _same_threads() -> Iterator[None]:
    """Afterwards PyTorch has the caller's number of threads again: numba, under UMAP, sets its own."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _compared(vectors: np.ndarray, others: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """With neighbours and graph made here: UMAP's own take longer to compile than these take."""
    import umap.umap_ as umap  # slow to import, as is the next, and needed here only
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(vectors)
    distances, rows = nearest.kneighbors(vectors)
    usual = umap.UMAP()
    a, b = umap.find_ab_params(usual.spread, usual.min_dist)
    places, _ = umap.simplicial_set_embedding(
        vectors,
        neighbour_graph(rows, distances),
        n_components=2,
        initial_alpha=usual.learning_rate,
        a=a,
        b=b,
        gamma=usual.repulsion_strength,
        negative_sample_rate=usual.negative_sample_rate,
        n_epochs=None,
        init=usual.init,
        random_state=np.random.RandomState(seed),
        metric=usual.metric,
        metric_kwds={},
        densmap=False,
        densmap_kwds={},
        output_dens=False,
    )
    return places, places[nearest.kneighbors(others, min(PLACING_NEIGHBOURS, count), return_distance=False)].mean(
        axis=1
    )


def _searched(vectors: np.ndarray, others: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    import umap

    model = umap.UMAP(n_neighbors=count, random_state=seed)
    return model.fit_transform(vectors), model.transform(others)
