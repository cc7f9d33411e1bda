"""Embeddings and their two-dimensional map."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from influence.derivatives import Objective

NEIGHBOURS = 15


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
    model = copy.deepcopy(objective.stage.model).eval()
    device = next(model.parameters()).device
    rows = []
    with torch.no_grad():
        for _, batch in (reader or objective).batches(data):
            batch = torch.utils._pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), batch)
            rows.append(embedding(model, batch).flatten(1).float().cpu().numpy())
    return np.concatenate(rows)


def map_of(vectors: np.ndarray, others: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Places of `vectors` (n, d) on a map, and of `others` projected into it: (n, 2), (k, 2), the algorithm's name.

    UMAP, seeded, so the same vectors give the same map; with fewer than 10 vectors, which have no neighbourhoods
    to keep, the two main directions.
    """
    if len(vectors) < 10:
        mean = vectors.mean(0)
        _, _, directions = np.linalg.svd(vectors - mean, full_matrices=False)
        flat = np.zeros((vectors.shape[1], 2), dtype=np.float32)
        flat[:, : len(directions[:2])] = directions[:2].T
        return (vectors - mean) @ flat, (others - mean) @ flat, "PCA"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed means one thread, and numba's own deprecations
        import umap  # slow to import, and needed here only

        model = umap.UMAP(n_neighbors=min(NEIGHBOURS, len(vectors) - 1), random_state=seed)
        places = model.fit_transform(vectors)
        projected = model.transform(others)
    return (
        places.astype(np.float32),
        projected.astype(np.float32),
        f"UMAP, {min(NEIGHBOURS, len(vectors) - 1)} neighbours",
    )
