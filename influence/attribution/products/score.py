"""Scores of every training example for every query, batch by batch: one pass over the data for all queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from influence.attribution.products.dots import Dots
from influence.derivatives import Objective


def score(
    objective: Objective, solved: Tensor | Mapping[str, Tensor], error: float = 0.0
) -> Iterator[tuple[slice, Tensor]]:
    """(positions of training examples, scores (Q, B)) batch by batch; the arguments are those of `Scoring`."""
    scoring = Scoring(objective, solved, error)
    del solved  # `Scoring` lets go of it when it has it by parameter
    yield from scoring.batches()


class Scoring:
    """Scores of the training examples of a stage, span by span.

    Args:
        objective: the stage whose training examples are scored; it has m of them.
        solved: queries pulled back to this stage and solved there: (Q, T), or by parameter (Q, size) each.
        error: allowed relative error of a query's scores, see `Dots`.
    """

    def __init__(self, objective: Objective, solved: Tensor | Mapping[str, Tensor], error: float = 0.0):
        self.objective = objective
        self._dots = Dots(objective, objective.stage.data, objective.trained, solved, error)

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """(positions of training examples, scores (Q, B)) batch by batch, from example `start` on, up to `stop`.

        Yields:
            score = v . (gradient of the example's loss) / m, in nats: the predicted change of the query's loss if the
            example had been left out. Positive = helpful. (The papers' derivative is -m times this.)
        """
        for positions, block in self._dots.batches(start, stop):
            yield positions, block.T / self.objective.count
