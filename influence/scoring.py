"""Every training example against every query, streamed: one pass over the data for all queries."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from influence.derivatives import Objective
from influence.derivatives.first import example_gradients


def score(objective: Objective, solved: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """(positions of training examples, scores (Q, B)) batch by batch.

    Args:
        objective: the stage whose training examples are scored; it has m of them.
        solved: queries pulled back to this stage and solved there, (Q, T).

    Yields:
        score = v . (gradient of the example's loss) / m, in nats: the predicted change of the query's loss if the
        example had been left out. Positive = helpful. (The papers' derivative is -m times this.)
    """
    for positions, gradients in example_gradients(objective, objective.stage.data, objective.trained):
        yield positions, (solved @ gradients.T.to(solved.dtype)) / objective.count
