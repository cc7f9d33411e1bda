"""Named errors of every way to train: weights of the wrong length, and parameters that are not finite."""

from __future__ import annotations

from torch import Tensor

from influence.derivatives import Objective
from influence.errors import TrainingError
from influence.study.stage import Stage


def refuse_wrong_length(objective: Objective, weights: Tensor | None) -> None:
    """Raise TrainingError unless there is a weight for each of the stage's examples; None stands for all 1."""
    if weights is not None and weights.shape != (objective.count,):
        raise TrainingError(
            f"Stage {objective.stage.name!r}: weights have shape {tuple(weights.shape)}, expected "
            f"({objective.count},), one for each example."
        )


def refuse_more_examples(stage: Stage, count: int) -> None:
    """Raise TrainingError if a stage that was trained in mini-batches on `count` examples has more."""
    if len(stage.data) > count:
        raise TrainingError(
            f"Stage {stage.name!r} is trained in mini-batches, all of which would change with more examples. Use "
            "edits.replace, or edits.upweight."
        )


def refuse_not_finite(stage: str, state: Tensor, steps: int) -> None:
    """Raise TrainingError unless an optimiser's state (K, T) is finite after so many steps."""
    if not state.isfinite().all():
        raise TrainingError(
            f"Stage {stage!r}: the training was not finite any more after {steps} steps; check its losses, or lower "
            "the learning rate of its recipe."
        )
