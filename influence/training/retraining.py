"""`Retrainer`: trains a study again with weights for its examples, to measure the effect of leaving examples out."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from influence.derivatives import Objective
from influence.derivatives.losses import checked_losses
from influence.derivatives.modes import callers_modes_off
from influence.derivatives.objective import objectives_of
from influence.errors import StudyError, TrainingError
from influence.study.copies import copied, put
from influence.study.edits import Edit
from influence.study.parameters import groups_of
from influence.study.revision import revised
from influence.study.study import Study
from influence.training.last_layer import fitted_apart, lone_head, on_features
from influence.training.minimum import TOLERANCE, Trainer, tolerance_of
from influence.training.recipe import Recipe
from influence.training.recording import Trajectory
from influence.training.refusals import refuse_more_examples, refuse_not_finite, refuse_wrong_length

STALL_FACTOR = 1000
"""A descent that stalls at up to this many times the tolerance still counts as converged.

Where the curvature is small and many examples are left out, rounding may stop it there."""
Start = Literal["solution", "scratch"]
ParameterValues = dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The queries' losses and predictions after training again.

    Attributes:
        losses: (Q,), the measure of every query, float64, nats.
        predicted: (Q,), class number that the last stage predicts for every query; None if it is no classifier.
        parameters: name -> value, for every stage's model.
        seconds: wall time of training.
    """

    losses: np.ndarray
    predicted: np.ndarray | None
    parameters: list[ParameterValues]
    seconds: float


class Retrainer:
    """Trains a study's stages again, with weights for their examples; weight 0 leaves an example out.

    There are two ways, which answer different questions:

    - From the solution ("solution"), each stage continues from its trained parameters: to the nearest minimum, whose
      derivative the scores are; or, if it was trained by a recipe, by the recipe's steps once more.
    - From scratch ("scratch"), each stage begins at its random start, with the same seeds and order of examples. It may
      end in another minimum.

    An example with weight 0 stays in its batches, and means keep their denominators. Compare with `retrain()` of the
    same `start`, in which all weights are 1.

    Args:
        study: stages with trained models, which are not changed.
        device: where to train.
        tolerance: gradient norm to which a stage without a recipe is optimised; default by dtype (1e-8 for float64).
            Up to `STALL_FACTOR` times of it are accepted.
        recipes: stage -> its mini-batch recipe; stages without one are trained full batch to a minimum.
        starts: stage -> name -> parameter before training, for training from scratch.
    """

    def __init__(
        self,
        study: Study,
        *,
        device: torch.device | str = "cpu",
        tolerance: float | None = None,
        recipes: Mapping[str, Recipe] | None = None,
        starts: Mapping[str, Mapping[str, Tensor]] | None = None,
    ):
        self.study, self.tolerance = study, tolerance
        self.recipes, self.starts = dict(recipes or {}), dict(starts or {})
        self.objectives = objectives_of(study, device=device)
        self._trainers: dict[int, Trainer] = {}
        self._whitenings: dict[int, Tensor | None] = {}
        self._untouched: dict[tuple[int, Start, int | None], ParameterValues] = {}

    def losses_without(self, stage: str, examples: Sequence[int]) -> Tensor:
        """The measure of every query (Q,), nats, after training again from the solution without `examples` of `stage`.

        Raises:
            StudyError: there is no such stage or example.
            TrainingError: a stage did not converge.
        """
        return self.losses_with(stage, self.weights_without(stage, examples))

    def losses_with(self, stage: str, weights: Tensor) -> Tensor:
        """As `losses_without`, with `weights` (m,) of the examples of `stage`."""
        return torch.from_numpy(self.retrain({stage: weights}).losses)

    def weights_without(self, stage: str, examples: Sequence[int]) -> Tensor:
        """Weights (m,) of a stage's examples, float64: 0 for `examples`, 1 for the others."""
        count = self.objectives[self.study.position(stage)].count
        weights = torch.ones(count, dtype=torch.float64)
        for example in examples:
            if not 0 <= example < count:
                raise StudyError(f"Stage {stage!r} has no example {example}; its examples are 0 to {count - 1}.")
            weights[example] = 0
        return weights

    @callers_modes_off()
    def retrain(
        self,
        weights: Mapping[str, Tensor] | None = None,
        *,
        edits: Edit | Sequence[Edit] | None = None,
        start: Start = "solution",
        seed: int | None = None,
    ) -> Outcome:
        """Train all stages again.

        Args:
            weights: stage -> weight of each of its examples, (m,); all 1 for stages that are not named.
            edits: of the training data, made together, in place of weights. Examples that come in for others stand in
                their places, and so in their batches. Added ones need a stage that is trained full batch to a minimum;
                the mean over its examples keeps the denominator m.
            start: where stages begin.
            seed: of another random start and order, from scratch; None: those of the study.

        Raises:
            StudyError: there is no such stage, the stage's start is unknown, both weights and edits are given, or as
                `edit_effect`.
            LossError: a stage's loss fails on its edited examples.
            TrainingError: weights of the wrong length, or a stage did not converge or stay finite.
        """
        if edits is not None:
            if weights:
                raise StudyError("Both weights and edits are given; a weight is an edit: edits.upweight.")
            return self._revised(edits, start, seed)
        weights, began = dict(weights or {}), time.perf_counter()
        changed = min((self.study.position(stage) for stage in weights), default=len(self.objectives))
        self._refuse_unknown(start, seed)
        trained: list[ParameterValues] = []
        for i, objective in enumerate(self.objectives):
            before = trained[-1] if trained else {}
            key = (i, start, seed)
            if i < changed and key in self._untouched:
                trained.append(self._untouched[key])
                continue
            trained.append(self._train(i, before, weights.get(objective.stage.name), start, seed))
            if i < changed:
                self._untouched[key] = trained[-1]
        return self._outcome(trained, time.perf_counter() - began)

    def _revised(self, edits: Edit | Sequence[Edit], start: Start, seed: int | None) -> Outcome:
        """Train again with the edits made."""
        study, weights = revised(self.study, edits)
        again = copy.copy(self)  # which shares what is known of the stages that are not edited
        again.study, again.objectives, again._trainers = study, list(self.objectives), dict(self._trainers)
        for i, (stage, objective) in enumerate(zip(study.stages, self.objectives, strict=True)):
            if stage.name not in weights:
                continue
            again.objectives[i] = objective.with_stage(stage)
            checked_losses(again.objectives[i], stage.data)
            again._trainers.pop(i, None)
            if stage.name in self.recipes:
                refuse_more_examples(stage, objective.count)
        return again.retrain(weights, start=start, seed=seed)

    def _outcome(self, trained: list[ParameterValues], seconds: float) -> Outcome:
        last = self.objectives[-1].at(trained[-1])
        losses = checked_losses(last, self.study.queries, self.study.measure).double().cpu().numpy()
        return Outcome(losses, _classes(last, self.study.queries), trained, seconds)

    @callers_modes_off()
    def finetuned(self, seed: int) -> Outcome:
        """Keep the first stage, and train all later ones from another random start and in another order.

        Raises:
            StudyError, TrainingError: as `retrain`.
        """
        self._refuse_unknown("scratch", seed)
        began, trained = time.perf_counter(), [dict(self.objectives[0].parameters)]
        for i in range(1, len(self.objectives)):
            trained.append(self._train(i, trained[-1], None, "scratch", seed))
        return self._outcome(trained, time.perf_counter() - began)

    def study_at(self, parameters: Sequence[ParameterValues]) -> Study:
        """The study with copies of its models at the given parameters, one dict a stage (see `Outcome.parameters`)."""
        stages = []
        for stage, values in zip(self.study.stages, parameters, strict=True):
            model = copied(stage.model)
            put(model, values)
            stages.append(dataclasses.replace(stage, model=model))
        return Study(self.study.name, stages, self.study.queries, self.study.measure)

    def _refuse_unknown(self, start: Start, seed: int | None) -> None:
        if start not in ("solution", "scratch"):
            raise StudyError(f"start is {start!r}, expected 'solution' or 'scratch'.")
        if seed is not None and start == "solution":
            raise StudyError(f"seed is {seed}, but training from the solution draws nothing; use start='scratch'.")
        missing = [s.name for s in self.study.stages if s.name not in self.starts]
        if start == "scratch" and missing:
            raise StudyError(
                f"Where stage {missing[0]!r} began is not known, so it cannot be trained from scratch; give `starts`, "
                "or use start='solution'."
            )

    def _train(
        self, i: int, before: ParameterValues, weights: Tensor | None, start: Start, seed: int | None
    ) -> ParameterValues:
        """Stage i's parameters after training; it inherits from `before`, the previous stage's."""
        objective = self.objectives[i]
        stage = objective.stage
        refuse_wrong_length(objective, weights)
        inherited = {here: before[there] for here, there in objective.groups.inherited.items()}
        values = dict(objective.parameters)
        if start == "scratch":
            own = self.starts[stage.name]
            values |= {
                n: t.to(objective.device) for n, t in (shuffled_start(own, seed) if seed is not None else own).items()
            }
        recipe = self.recipes.get(stage.name)
        head = _head(objective, values | inherited, weights) if fitted_apart(stage, recipe) else None
        if head is not None:
            return head
        if recipe is None:
            return self._to_minimum(i, values, inherited, weights, start)
        if seed is not None:
            recipe = dataclasses.replace(recipe, seed=seed)
        return _by_recipe(objective, recipe, values, inherited, weights, start)

    def _to_minimum(
        self, i: int, values: ParameterValues, inherited: ParameterValues, weights: Tensor | None, start: Start
    ) -> ParameterValues:
        objective = self.objectives[i]
        if i not in self._trainers:
            self._trainers[i] = Trainer(objective.stage, objective.groups, objective.device)
        trainer, whitening = self._trainers[i], None
        if trainer.dense and start == "solution":
            if i not in self._whitenings:
                self._whitenings[i] = trainer.whitening_at(objective.parameters)
            whitening = self._whitenings[i]
        begin = {n: values[n] for n in objective.trained.shapes}
        if start == "scratch":
            begin |= {n: t for n, t in inherited.items() if n in begin}
        tolerance = self.tolerance or tolerance_of(objective.dtype)
        fit = trainer.fit(inherited=inherited, start=begin, weights=weights, whitening=whitening, tolerance=tolerance)
        if fit.gradient_norm > STALL_FACTOR * tolerance:
            raise TrainingError(
                f"Stage {objective.stage.name!r}: training again stopped at a gradient norm of "
                f"{fit.gradient_norm:.1e}, short of {STALL_FACTOR * tolerance:.0e}, so what it would show is not due "
                "to the examples alone. Raise its l2, or the tolerance."
            )
        return fit.parameters


def shuffled_start(start: Mapping[str, Tensor], seed: int) -> ParameterValues:
    """Another random start: the entries of every tensor of `start`, which are independent draws, in a random order."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].view(tensor.shape)
        for name, tensor in start.items()
    }


def _by_recipe(
    objective: Objective,
    recipe: Recipe,
    values: ParameterValues,
    inherited: ParameterValues,
    weights: Tensor | None,
    start: Start,
) -> ParameterValues:
    """The parameters after the recipe's steps. The proximity term is centred at the inherited values for any start."""
    trajectory = Trajectory(objective, recipe, values | inherited)
    begin = trajectory.start if start == "scratch" else objective.trained.flatten(objective.parameters)
    weights = torch.ones(objective.count) if weights is None else weights
    state = recipe.begin(begin)
    for each in trajectory.states(state, range(recipe.steps), weights.to(begin)):
        state = each
    refuse_not_finite(objective.stage.name, state, recipe.steps)
    return {**values, **inherited, **objective.trained.unflatten(state[0].clone())}


def _head(objective: Objective, values: ParameterValues, weights: Tensor | None) -> ParameterValues | None:
    """The parameters with the last linear layer fitted to its minimum; None if the stage trains other parameters."""
    stage, groups = objective.stage, objective.groups
    name = lone_head(stage, groups)
    if not name:
        return None
    model: nn.Module = copied(stage.model)
    put(model, values)
    proxy = on_features(dataclasses.replace(stage, model=model), name, objective.device)
    if proxy is None:
        return None
    tolerance = TOLERANCE[torch.float64]
    fit = Trainer(proxy, groups_of(proxy, None), objective.device).fit(weights=weights, tolerance=tolerance)
    if not fit.converged:
        raise TrainingError(
            f"Stage {stage.name!r}: training {name} again stopped at a gradient norm of {fit.gradient_norm:.1e}, "
            f"short of {tolerance:.0e}. Raise its l2."
        )
    return values | {f"{name}.{part}": value.to(values[f"{name}.{part}"]) for part, value in fit.parameters.items()}


def _classes(last: Objective, queries: object) -> np.ndarray | None:
    """Class number with the largest output, for every query, (Q,); None if the outputs are not (B, classes)."""
    found = []
    with torch.no_grad():
        for positions, batch in last.batches(queries):
            outputs = last.outputs(batch)
            shape = (positions.stop - positions.start,)
            if not isinstance(outputs, Tensor) or outputs.dim() != 2 or outputs.shape[:1] != shape:
                return None
            found.append(outputs.argmax(1).cpu())
    return torch.cat(found).numpy()
