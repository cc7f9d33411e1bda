"""Score arrays, filled a chunk's width of examples at a time; a killed process goes on at the first missing chunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import zarr
from torch import Tensor

from influence.derivatives import Objective
from influence.progress import Bar
from influence.run import Draft
from influence.scoring import score


def fill(draft: Draft, method: str, objective: Objective, solved: Tensor, bar: Bar) -> None:
    """Score every training example of a stage into the draft's array, from where an earlier process was stopped.

    What is written are whole chunks, however the batches fall, and each is in the journal before the next is begun.
    """
    stage, count = objective.stage.name, objective.count
    step, start = filled(stage, method), 0
    if step in draft.steps:
        start = draft.steps[step]
        array: Any = zarr.open_array(draft.path(scores_file(stage, method)), mode="r+")
    else:
        _, array = draft.create_scores(stage, method, (len(solved), count))
    width, held, at = array.chunks[1], np.empty((len(solved), 0), np.float32), start
    bar.advance(start)
    if start == count:
        return
    for positions, block in score(objective, solved, start=start):
        held = np.concatenate([held, block.cpu().numpy().astype(np.float32)], axis=1)
        bar.advance(positions.stop - positions.start)
        ready = held.shape[1] if positions.stop == count else held.shape[1] // width * width
        if ready:
            array[:, at : at + ready] = held[:, :ready]
            at, held = at + ready, held[:, ready:]
            draft.mark(step, at)


def filled(stage: str, method: str) -> str:
    """The step of the journal that says how many columns of an array are written."""
    return f"scored {stage} {method}"


def scores_file(stage: str, method: str) -> str:
    """Where a run keeps an array."""
    return f"scores/{stage}-{method}.zarr"


def keep_vectors(draft: Draft, method: str, vectors: dict[str, Tensor]) -> None:
    """Leave the solved queries (Q, T) of every stage for `vectors_of`."""
    tensors = {stage: each.detach().cpu().contiguous() for stage, each in vectors.items()}
    safetensors.torch.save_file(tensors, draft.path(_file(method)))


def vectors_of(draft: Draft, method: str, stage: str) -> Tensor:
    """The solved queries (Q, T) of a stage."""
    with safetensors.safe_open(draft.path(_file(method)), framework="pt") as file:
        return file.get_tensor(stage)


def drop_vectors(draft: Draft, method: str) -> None:
    """They are as large as the models times the queries, and of no use once all is scored."""
    Path(draft.path(_file(method))).unlink(missing_ok=True)


def _file(method: str) -> str:
    return f"work/queries-{method}.safetensors"
