"""`Retraining`: the piece of which checks are made; and the job that lets workers of an engine compute it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from influence.engine.pieces import Fingerprint, Piece
from influence.run.reading import Run
from influence.studies.exhibit import Exhibit, recipe_of
from influence.studies.from_run import exhibit_and_starts_of
from influence.study.edits import Edit
from influence.training.fingerprint import fingerprint_of
from influence.training.retraining import Outcome, Retrainer, Start


@dataclass(frozen=True)
class Retraining:
    """Training all stages again with weights for the examples of one.

    Attributes:
        stage: its name.
        weights: (m,) of its examples; None: all 1.
        start: as of `Retrainer.retrain`.
        seed: as of `Retrainer.retrain`.
        edits: of any stages' training data, in place of weights.
    """

    stage: str
    weights: Tensor | None
    start: Start
    seed: int | None = None
    edits: tuple[Edit, ...] = ()

    @property
    def left_out(self) -> float:
        """The share of the stage's examples that have weight 0."""
        return 0.0 if self.weights is None else float((self.weights == 0).double().mean())

    @property
    def cost(self) -> str:
        """Cost class: the more examples are left out, the longer a retraining takes."""
        return f"{'' if self.weights is None else f'{self.left_out:.0%} '}{self.start}"

    @property
    def key(self) -> dict[str, Any]:
        """What it depends on beside the run's models, as JSON."""
        digest = "" if self.weights is None else hashlib.sha256(self.weights.double().numpy().tobytes()).hexdigest()
        return {"weights": digest, "seed": self.seed}

    def by(self, retrainer: Retrainer) -> pd.DataFrame:
        """Columns `loss` (nats) and `predicted` (class number or -1), a row for each query."""
        given = {} if self.weights is None else {self.stage: self.weights}
        return table_of(retrainer.retrain(given, edits=self.edits or None, start=self.start, seed=self.seed))

    def piece(self, key: str) -> Piece:
        """For an engine; `key` is the hash that its table is kept under."""
        without = "with edits" if self.edits else "as it was"
        if self.weights is not None:
            without = f"without {self.left_out:.1%} of {self.stage}"
        return Piece(key, f"training from the {self.start} {without}", self)


def table_of(outcome: Outcome) -> pd.DataFrame:
    """Columns `loss` (nats) and `predicted` (class number or -1) of every query."""
    predicted = np.full(len(outcome.losses), -1) if outcome.predicted is None else outcome.predicted
    return pd.DataFrame({"loss": outcome.losses, "predicted": predicted})


@dataclass(frozen=True)
class RetrainingJob:
    """Retrainings of one run's study.

    Attributes:
        run: the run's folder, which every worker must see.
        function: FILE.py:FUNCTION, of a run that was computed from one.
        device: where to train.
        threads: of each worker.
        fingerprint: of the driver's models and data.
    """

    run: str
    function: str | None
    device: str
    threads: int
    fingerprint: Fingerprint

    def worker(self) -> RetrainingWorker:
        """Make the study again; see `retrainer_of` for what it raises."""
        torch.set_num_threads(self.threads)
        return RetrainingWorker(retrainer_of(Run.open(Path(self.run)), self.function, self.device)[1])


class RetrainingWorker:
    """Trains a study of its own again."""

    def __init__(self, retrainer: Retrainer):
        self.retrainer = retrainer
        self.fingerprint = fingerprint_of(retrainer.objectives, retrainer.study.queries, retrainer.starts)

    def compute(self, of: Retraining) -> pd.DataFrame:
        """The table of a retraining."""
        return of.by(self.retrainer)


def retrainer_of(
    run: Run, function: str | None = None, device: torch.device | str = "cpu"
) -> tuple[Exhibit, Retrainer]:
    """A run's study, and what trains its stages again as they were trained.

    Args:
        run: a finished run.
        function: FILE.py:FUNCTION, of a run that was computed from one.
        device: where to train.

    Raises:
        RunError, StudyError: the run's study cannot be made again, see `influence.studies.from_run.exhibit_of`.
    """
    exhibit, starts = exhibit_and_starts_of(run, function)
    recipes = {stage.name: recipe_of(exhibit, stage) for stage in exhibit.study.stages}
    retrainer = Retrainer(
        exhibit.study,
        device=device,
        recipes={name: recipe for name, recipe in recipes.items() if recipe is not None},
        starts=starts if exhibit.train else {},
    )
    return exhibit, retrainer
