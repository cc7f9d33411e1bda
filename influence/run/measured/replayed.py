"""One query's exact derivative through the steps of a run's trainings, as `upstream verify` found it."""

from __future__ import annotations

import dataclasses

import numpy as np

from influence.errors import RunError
from influence.run.reading import Run

VERIFIED = "verified"
"""Name of the table in the run."""


@dataclasses.dataclass(frozen=True)
class Replayed:
    """One query's derivative.

    Attributes:
        scores: (n_examples,), float32, nats, positive = helpful.
        measured: row of an example that was really left out -> change of the query's loss, nats.
    """

    scores: np.ndarray
    measured: dict[int, float]


def by_steps(run: Run, stage: str) -> bool:
    """Whether a stage's training took the steps of a recipe, so that it can be repeated, recorded and replayed.

    Of runs that do not say it, a training with a recipe that ended at no minimum is taken to have.
    """
    training, recipes = run.stage(stage).training, run.manifest.settings.get("recipes")
    if training.by_steps is not None:
        return training.by_steps
    recipe = run.manifest.settings.get("epochs") or (isinstance(recipes, dict) and stage in recipes)
    return bool(recipe and training.iterations and training.converged is False)


def replayed(run: Run, stage: str, position: int) -> Replayed | None:
    """What replaying the query at a row found of a stage's examples; None if nobody did.

    Raises:
        RunError: it is not of all examples.
    """
    table = run.validation(VERIFIED)
    if table is None:
        return None
    rows = table[(table["stage"] == stage) & (table["query"] == position)]
    if rows.empty:
        return None
    last = rows.iloc[-1]
    scores = np.asarray(last["scores"], dtype=np.float32)
    if len(scores) != len(run.examples(stage)) or not np.isfinite(scores).all():
        raise RunError(
            f"The table {VERIFIED} of run {run.name} has {len(scores)} scores of the query at row {position}, expected "
            f"a finite one for each of {len(run.examples(stage))} examples. Compute the run again."
        )
    pairs = zip(last["examples"], last["measured"], strict=True)
    return Replayed(scores, {int(example): float(measured) for example, measured in pairs})
