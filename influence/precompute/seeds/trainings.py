"""The further trainings of a run whose scores are means over seeds, and what the run keeps of them.

Each begins at another random start, takes the examples in another order, and is scored by the run's own method. The run
keeps the mean and the spread of the scores; its models, and all that is asked of it later, are of the first training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
import zarr

from influence.attribution.scores import attribute
from influence.attribution.trainings.averages import Averages
from influence.progress import Bar
from influence.run.draft import Draft
from influence.run.files import mean_method, scores_file, spread_method
from influence.run.records import ScoreRecord
from influence.studies.exhibit import Exhibit, recipe_of
from influence.study.copies import copied, put
from influence.study.stage import Stage
from influence.study.study import Study
from influence.training.fitting import fit
from influence.training.retraining import ParameterValues, shuffled_start

Starts = Mapping[Stage, ParameterValues]
"""Stage -> its parameters before training, by name."""


def starts_of(study: Study) -> Starts:
    """The parameters as they are now, copied."""
    return {s: {n: p.detach().clone() for n, p in s.model.named_parameters()} for s in study.stages}


class Trainings:
    """Trains an exhibit's study `exhibit.seeds` - 1 times more.

    Args:
        exhibit, draft: what of, where to.
        starts: of the study's stages.
        device: where to compute.
        step: shows a bar.
    """

    def __init__(
        self,
        exhibit: Exhibit,
        draft: Draft,
        starts: Starts,
        device: torch.device,
        step: Callable[..., AbstractContextManager[Bar]],
    ):
        self.exhibit, self.draft, self.starts, self.device, self.step = exhibit, draft, starts, device, step

    def averaged(self, records: Sequence[ScoreRecord]) -> list[ScoreRecord]:
        """The records of the first training's scores, of their means over all trainings."""
        for number in range(1, self.exhibit.seeds):
            if _named(number) not in self.draft.steps:
                self._add(number)
        return [self._average(record) for record in records]

    def _add(self, number: int) -> None:
        """Train once more, and keep the scores of every stage."""
        exhibit, seed = self.exhibit, self.exhibit.seed + number
        study = self._begun(seed)
        for previous, stage in study.pairs():
            recipe = recipe_of(exhibit, stage)
            recipe = None if recipe is None else dataclasses.replace(recipe, seed=seed)
            kept = self.draft.path(f"work/{_named(number)}-{stage.name}.checkpoint")
            with self.step(f"training {stage.name}, seed {seed}", total=1) as bar:
                fit(stage, previous, recipe, self.device, kept, bar.at)
        reasons: dict[str, list[str]] = {}
        for stage in study.stages:
            with self.step(f"scoring {stage.name}, seed {seed}"):
                found = attribute(
                    study, stage=stage.name, method=exhibit.method, damping=exhibit.damping,
                    curvature=exhibit.curvature, device=self.device, error=exhibit.error, progress=False,
                )  # fmt: skip
            self.draft.hear({kind: found.report[kind] for kind in ("warnings", "order_only", "notes")})
            reasons[stage.name] = list(found.report["order_only"])
            self.draft.write_array(_scores(number, stage.name), found.values)
        self.draft.mark(_named(number), reasons)

    def _begun(self, seed: int) -> Study:
        """The study at another random start."""
        study, stages = self.exhibit.study, []
        for stage in study.stages:
            model = copied(stage.model)
            put(model, shuffled_start(self.starts[stage], seed))
            stages.append(dataclasses.replace(stage, model=model))
        return Study(study.name, stages, study.queries, study.measure)

    def _average(self, record: ScoreRecord) -> ScoreRecord:
        """Write mean and spread of one stage's scores."""
        stage, averages = record.stage, Averages()
        own: list[str] = [record.file, *(f"{_scores(n, stage)}.zarr" for n in range(1, self.exhibit.seeds))]
        for file in own:
            averages.add(np.asarray(zarr.open_array(self.draft.path(file), mode="r")[:]))
        mean = scores_file(stage, mean_method(record.method))
        if f"mean of {stage}" not in self.draft.steps:
            for name, values in ((mean_method, averages.mean), (spread_method, averages.spread)):
                file, array = self.draft.create_scores(stage, name(record.method), values.shape)
                self.draft.write_scores(file, array, 0, values.astype(np.float32))
            self.draft.mark(f"mean of {stage}")
        report = {**record.report, "trainings": self.exhibit.seeds, "order_only": self._reasons(record)}
        return dataclasses.replace(record, file=mean, report=report)

    def _reasons(self, record: ScoreRecord) -> list[str]:
        """Why only the order of a stage's scores means something, in any of the trainings."""
        further = [self.draft.steps[_named(n)][record.stage] for n in range(1, self.exhibit.seeds)]
        told = [*record.report.get("order_only", ()), *(reason for reasons in further for reason in reasons)]
        return list(dict.fromkeys(told))


def _named(number: int) -> str:
    return f"training {number}"


def _scores(number: int, stage: str) -> str:
    return f"work/training-{number}/{stage}"
