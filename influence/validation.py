"""What leaving examples out really does: both stages trained again, measured beside what was predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from influence.chain import objectives_of
from influence.errors import StudyError
from influence.study import Study
from influence.training import Fit, Trainer


class Retrainer:
    """Trains a study's stages again without some examples, starting from the stages' present minimum.

    Re-optimising from the solution follows the same minimum as the scores' derivative does; a cold start may end
    in another one.

    Args:
        study: its stages stand at minima of their objectives (`influence/training.py` finds them).
        tolerance: gradient norm to which every stage is optimised again.
    """

    def __init__(self, study: Study, *, device: torch.device | str = "cpu", tolerance: float = 1e-8):
        self.study, self.tolerance = study, tolerance
        self.objectives = objectives_of(study, device=device)
        self.trainers = [Trainer(o.stage, o.groups, device) for o in self.objectives]
        self._whitenings: list[Tensor | None] = [None] * len(self.trainers)

    def losses_without(self, stage: str, examples: Sequence[int]) -> Tensor:
        """The measure of every query (Q,), nats, after training again with `examples` of `stage` at weight 0.

        Raises:
            StudyError: there is no such stage or example.
        """
        count = self.objectives[self.study.position(stage)].count
        weights = torch.ones(count, dtype=torch.float64)
        for example in examples:
            if not 0 <= example < count:
                raise StudyError(f"Stage {stage!r} has no example {example}; its examples are 0 to {count - 1}.")
            weights[example] = 0
        return self.losses_with(stage, weights)

    def losses_with(self, stage: str, weights: Tensor) -> Tensor:
        """The measure of every query (Q,), nats, after training again with `weights` (m,) on a stage's examples."""
        position = self.study.position(stage)
        parameters = dict(self.objectives[position - 1].parameters) if position else {}
        for i in range(position, len(self.trainers)):
            parameters = self._fit(i, parameters, weights if i == position else None).parameters
        return self.objectives[-1].at(parameters).checked_losses(self.study.queries, self.study.measure)

    def _fit(self, i: int, before: dict[str, Tensor], weights: Tensor | None) -> Fit:
        objective, trainer = self.objectives[i], self.trainers[i]
        if trainer.dense and self._whitenings[i] is None:
            self._whitenings[i] = trainer.whitening_at(objective.parameters)
        inherited = {here: before[there] for here, there in objective.groups.inherited.items()}
        start = {n: objective.parameters[n] for n in objective.trained.shapes}
        return trainer.fit(
            inherited=inherited, start=start, weights=weights, whitening=self._whitenings[i], tolerance=self.tolerance
        )


def leave_one_out(
    study: Study,
    stage: str,
    examples: Sequence[int],
    *,
    tolerance: float = 1e-8,
    advance: Callable[[], None] | None = None,
) -> Tensor:
    """Measured change of every query's loss, nats, (len(examples), Q): each example left out alone.

    The unperturbed losses are those of the stages as they stand.
    """
    retrainer = Retrainer(study, tolerance=tolerance)
    base = retrainer.losses_without(stage, [])
    changes = []
    for example in examples:
        changes.append(retrainer.losses_without(stage, [example]) - base)
        if advance:
            advance()
    return torch.stack(changes)
