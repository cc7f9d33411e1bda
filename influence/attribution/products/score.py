"""Scores of every training example for every query, batch by batch: one pass over the data for all queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from influence.attribution.products.dots import dots
from influence.derivatives import Objective


def score(
    objective: Objective, solved: Tensor | Mapping[str, Tensor], start: int = 0, error: float = 0.0
) -> Iterator[tuple[slice, Tensor]]:
    """(positions of training examples, scores (Q, B)) batch by batch.

    Args:
        objective: the stage whose training examples are scored; it has m of them.
        solved: queries pulled back to this stage and solved there: (Q, T), or by parameter (Q, size) each.
        start: the first example to score.
        error: allowed relative error of a query's scores, see `dots`.

    Yields:
        score = v . (gradient of the example's loss) / m, in nats: the predicted change of the query's loss if the
        example had been left out. Positive = helpful. (The papers' derivative is -m times this.)
    """
    products = dots(objective, objective.stage.data, objective.trained, solved, start, error)
    del solved  # `dots` lets go of it when it has it by parameter
    for positions, block in products:
        yield positions, block.T / objective.count
