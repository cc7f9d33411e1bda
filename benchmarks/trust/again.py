"""A setting that was trained, and trained again: from the solution to the minimum, from scratch step by step.

A setting without recipes has one minimum, to which it is trained by either way.
"""

from __future__ import annotations

import copy
import dataclasses
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from influence import Study, attribute
from influence.derivatives import objectives_of
from influence.derivatives.losses import checked_losses
from influence.training import Recording, Retrainer, fit_stage, record
from trust.settings import Setting
from trust.together import retrain_together

FIRST = "pretrain"
TOGETHER = 32
"""Retrainings side by side."""


class Again:
    """A setting's training, and what training it again does to the losses of its queries.

    Attributes:
        recordings: of the steps from scratch; none without recipes.
        study: where these end.
    """

    def __init__(self, setting: Setting):
        self.setting = setting
        self.study = _copied(setting.study)
        self.recordings: list[Recording] = []
        if not setting.recipes:
            self.study = self.solved
        for stage in self.study.stages if setting.recipes else ():
            before = self.recordings[-1] if self.recordings else None
            self.recordings.append(record(stage, before, setting.recipes[stage.name]))
        for recording in self.recordings:
            recording.apply()

    @property
    def count(self) -> int:
        return len(self.study.stages[0].data)

    @cached_property
    def solved(self) -> Study:
        """The study at the minima next to where the steps ended."""
        study = _copied(self.study)
        for before, stage in study.pairs():
            fit_stage(stage, before)
        return study

    @cached_property
    def retrainer(self) -> Retrainer:
        return Retrainer(self.solved)

    @cached_property
    def losses(self) -> np.ndarray:
        """Of every query, (Q,), nats, after the steps from scratch."""
        last = objectives_of(self.study)[-1]
        return checked_losses(last, self.study.queries, self.study.measure).double().numpy()

    def without(self, left_out: list[list[int]]) -> Tensor:
        """Weights of pretraining examples, a row a list of those that are left out: (R, m)."""
        weights = torch.ones(len(left_out), self.count, dtype=torch.float64)
        for row, examples in zip(weights, left_out, strict=True):
            row[examples] = 0
        return weights

    def from_scratch(self, weights: Tensor) -> np.ndarray:
        """Measured change of every query's loss, (R, Q), nats."""
        if not self.recordings:
            return self.from_solution(weights)
        # What is compared is trained side by side, so that it rounds alike.
        losses, _ = self._outcomes(torch.cat([torch.ones_like(weights[:1]), weights]))
        return losses[1:] - losses[:1]

    def accuracies(self, weights: Tensor, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Accuracy, 0..1, and mean loss, nats, on some queries, after training from scratch: (R,) each."""
        losses, right = self._outcomes(weights)
        return right[:, queries].mean(1), losses[:, queries].mean(1)

    def from_solution(self, weights: Tensor) -> np.ndarray:
        base = self.retrainer.losses_with(FIRST, torch.ones(self.count, dtype=torch.float64)).numpy()
        return np.stack([self.retrainer.losses_with(FIRST, row).numpy() - base for row in weights])

    def scores(self, study: Study | None = None, **options: Any) -> np.ndarray:
        """Scores (Q, m), nats, at the minima unless another study is given."""
        return attribute(study or self.solved, progress=False, **options).values

    def replayed(self, queries: list[list[int]] | list[int] | None = None) -> np.ndarray:
        """Of the recorded training: (Q, m) or a row a group of queries."""
        return self.scores(self.study, method="replay", recordings=self.recordings, queries=queries)

    @property
    def everything(self) -> list[list[int]]:
        """All queries as one group."""
        return [list(range(len(self.study.queries)))]

    def _outcomes(self, weights: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Losses (nats), and whether the predicted class is the true one, (R, Q) each."""
        last, truth = objectives_of(self.study)[-1], torch.from_numpy(self.setting.truth)
        ends = retrain_together(self.recordings, FIRST, weights, rows=TOGETHER)
        losses, right = [], []
        for row in range(len(weights)):
            at = last.at({name: values[row] for name, values in ends.items()})
            losses.append(checked_losses(at, self.study.queries, self.study.measure).double().numpy())
            with torch.no_grad():
                found = torch.cat([at.outputs(batch).argmax(1) for _, batch in at.batches(self.study.queries)])
            right.append((found == truth).numpy())
        return np.stack(losses), np.stack(right)


def _copied(study: Study) -> Study:
    stages = [dataclasses.replace(stage, model=copy.deepcopy(stage.model)) for stage in study.stages]
    return Study(study.name, stages, study.queries, study.measure)
