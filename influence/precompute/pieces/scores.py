"""The scores of a span of a stage's training examples, by a method: whole columns of chunks of the run's array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from influence.derivatives import Objective
from influence.precompute.pieces.work import Span, Work
from influence.run.draft import Draft
from influence.run.files import scores_file
from influence.run.writer import chunk_of


@dataclass(frozen=True)
class SpanScores(Span):
    """The scores of a span, nats, of all queries. The record says how vectors were compressed."""

    kind = "scores"

    def by(self, work: Work) -> Any:
        writer, file = work.writer, scores_file(self.stage, self.method)
        array: Any = zarr.open_array(writer.path(file), mode="r+", config={"write_empty_chunks": True})
        (queries, _), width = array.shape, array.chunks[1]
        held, at = np.empty((queries, 0), np.float32), self.start
        for positions, block in work.scoring(self.stage, self.method).batches(self.start, self.stop):
            held = np.concatenate([held, block.cpu().numpy().astype(np.float32)], axis=1)
            ready = held.shape[1] if positions.stop == self.stop else held.shape[1] // width * width
            if ready:
                writer.write_scores(file, array, at, held[:, :ready])
                at, held = at + ready, held[:, ready:]
            work.advance(positions.stop - positions.start)
        return work.objective(self.stage).remarks.compression


def scores_of(objective: Objective, method: str, queries: int) -> list[SpanScores]:
    """The pieces of a stage's scores, in order."""
    return SpanScores.each(objective, method, width=chunk_of((queries, objective.count))[1])


def begin(draft: Draft, objective: Objective, method: str, queries: int) -> None:
    """Make the array that pieces write into, if it is not there."""
    step = f"array {objective.stage.name} {method}"
    if step not in draft.steps:
        draft.create_scores(objective.stage.name, method, (queries, objective.count))
        draft.mark(step)
