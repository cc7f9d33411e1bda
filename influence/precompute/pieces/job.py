"""`RunJob`: what the workers of an engine make their models from, to compute pieces of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from influence.curvature import Method, method_named
from influence.derivatives import Objective
from influence.derivatives.batch_size import widen
from influence.derivatives.objective import objectives_of
from influence.engine.pieces import Fingerprint
from influence.errors import StudyError
from influence.precompute.pieces.work import Part, Result, Work
from influence.run.files import model_file
from influence.run.writer import Writer
from influence.studies.exhibit import Exhibit
from influence.studies.from_run import exhibit_asked
from influence.study.study import Study
from influence.training.fingerprint import fingerprint_of


@dataclass(frozen=True, eq=False)
class RunJob:
    """The pieces of one run.

    Attributes:
        draft: the run's folder while it is computed, which every worker must see; of trained models.
        variant: of the study.
        asked: how the study is made, as `Exhibit.asked`; empty of a study made in Python.
        study: a study made in Python, trained, which is sent; None of others, which every worker makes again.
        method: of the run.
        damping: of this method; other methods choose theirs.
        curvature: of all methods.
        error: that a query's scores may have for speed.
        device: where to compute.
        threads: of each worker.
        halvings: of the batches, where memory ran out.
        fingerprint: of the driver's models and data.
    """

    draft: str
    variant: str
    asked: Mapping[str, Any]
    study: Study | None
    method: str
    damping: float | None
    curvature: str
    error: float
    device: str
    threads: int
    halvings: int
    fingerprint: Fingerprint

    @classmethod
    def of(
        cls, exhibit: Exhibit, draft: Path, objectives: Sequence[Objective], device: str, threads: int, halvings: int
    ) -> RunJob:
        """The job of an exhibit whose models are trained, and in its draft."""
        return cls(
            str(draft.absolute()), exhibit.variant, exhibit.asked, None if exhibit.asked else exhibit.study,
            exhibit.method, exhibit.damping, exhibit.curvature, exhibit.error, device, threads, halvings,
            fingerprint_of(objectives, exhibit.study.queries),
        )  # fmt: skip

    def worker(self) -> RunWorker:
        """Make the study again, with the draft's models.

        Raises:
            StudyError, RunError: it cannot be made again, or the draft's models are not those of it.
        """
        torch.set_num_threads(self.threads)
        return RunWorker(self, self.study or self._made())

    def _made(self) -> Study:
        study, writer = exhibit_asked(self.asked, self.variant).study, Writer(Path(self.draft))
        for stage in study.stages:
            try:
                stage.model.load_state_dict(writer.tensors(model_file(stage.name)))
            except RuntimeError as error:
                raise StudyError(f"Stage {stage.name!r} has another model than the run: {error}") from error
        return study


class RunWorker:
    """Computes pieces of a run with models of its own."""

    def __init__(self, job: RunJob, study: Study):
        self.job = job
        objectives = objectives_of(study, device=job.device, halvings=job.halvings)
        widen(objectives)
        self.fingerprint = fingerprint_of(objectives, study.queries)
        self.work = Work(study, objectives, self._solver, Path(job.draft), job.error)
        self._solvers: dict[tuple[str, str], Method] = {}

    def compute(self, of: tuple[str, Part]) -> Result:
        """A piece, given with the folder that the run has by now."""
        folder, part = of
        self.work.folder = Path(folder)
        return self.work.compute(part)

    def _solver(self, objective: Objective, method: str) -> Method:
        """As the driver's: from what it kept of the curvature, or the same passes over the data."""
        key = objective.stage.name, method
        if key not in self._solvers:
            state = Writer(self.work.folder).curvature(*key)
            self._solvers[key] = solver_of_run(
                objective, method, self.job.curvature, self.job.damping if method == self.job.method else None, state
            )
        return self._solvers[key]


def solver_of_run(
    objective: Objective, method: str, curvature: str, damping: float | None, state: Mapping[str, torch.Tensor]
) -> Method:
    """A run's solver of a stage; with what was kept of it, if anything."""
    kept = {"state": state} if state else {}
    return method_named(method)(objective, curvature=curvature, damping=damping, **kept)
