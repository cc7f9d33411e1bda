"""Score arrays, filled one column of chunks at a time; an interrupted computation resumes at the first missing one."""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr

from influence.attribution.products.score import score
from influence.derivatives import Objective
from influence.precompute.query_vectors import QueryVectors
from influence.progress import Bar
from influence.run.draft import Draft
from influence.run.files import scores_file


def fill(draft: Draft, method: str, objective: Objective, solved: QueryVectors, error: float, bar: Bar) -> None:
    """Score every training example of a stage into the draft's array, from where an earlier process was stopped.

    What is written are whole chunks, however the batches fall, and each is in the journal before the next is begun.

    Args:
        draft: of the run.
        method: that the queries were solved by.
        objective: the stage's.
        solved: the queries there.
        error: that a query's scores may have for speed.
        bar: shows how many examples are done.
    """
    stage, count = objective.stage.name, objective.count
    step, file, start = filled(stage, method), scores_file(stage, method), 0
    if step in draft.steps:
        start = draft.steps[step]
        array: Any = zarr.open_array(draft.path(file), mode="r+")
    else:
        _, array = draft.create_scores(stage, method, (solved.count, count))
    width, held, at = array.chunks[1], np.empty((solved.count, 0), np.float32), start
    bar.advance(start)
    if start == count:
        return
    for positions, block in score(objective, solved.mapped(), start, error):
        if error and compressed(stage, method) not in draft.steps:
            draft.mark(compressed(stage, method), objective.remarks.compression)
        held = np.concatenate([held, block.cpu().numpy().astype(np.float32)], axis=1)
        bar.advance(positions.stop - positions.start)
        ready = held.shape[1] if positions.stop == count else held.shape[1] // width * width
        if ready:
            draft.write_scores(file, array, at, held[:, :ready])
            at, held = at + ready, held[:, ready:]
            draft.mark(step, at)


def filled(stage: str, method: str) -> str:
    """The step of the journal that says how many columns of an array are written."""
    return f"scored {stage} {method}"


def compressed(stage: str, method: str) -> str:
    """The step of the journal that says what was done to the queries' vectors for speed."""
    return f"compressed {stage} {method}"
