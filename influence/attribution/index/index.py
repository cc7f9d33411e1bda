"""Per-example training gradients on disk, so that a new query is scored without the training data.

For every example the index stores the factors of its gradient (layer inputs and output gradients), or the gradient
where that is smaller; in float32, or in bfloat16 if float32 would be large (`packed.py`). A new query is pulled back
through the stages and solved as always. One product with the index then gives its scores. The index measures its error
when it is made: the error of rounding and, for wide outputs such as a vocabulary, of the projection.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from influence.attribution.chain import Chain
from influence.attribution.guards import derivatives_named, device_of, solver_of
from influence.attribution.index.gradients import Gradients
from influence.attribution.report import report_of
from influence.attribution.scores import Scores
from influence.derivatives.modes import callers_modes_off
from influence.progress import Progress
from influence.study.stage import check_dataset
from influence.study.study import Study

PROBE_QUERIES = 8
"""Queries of the study that the error is measured on."""


class Index:
    """The gradients of a stage's training examples in a folder, and the solvers of the stages after it.

    An index of the same stage, model and data is opened, and completed if making it was interrupted. An empty folder
    is filled.

    Args:
        study: its queries serve to measure the index's error; new ones are given to `query`.
        folder: of the index.
        stage: name of the stage whose training examples are scored; default the first (pretraining).
        method: as in `attribute`; so are damping, curvature, device, progress and options.
        damping: see `attribute`.
        curvature: see `attribute`.
        device: see `attribute`.
        progress: see `attribute`.
        options: of the method.

    Attributes:
        error: largest relative error |found - exact| / |exact| of the scores of the probe queries.
        bytes: size on disk.

    Raises:
        RunError: the folder holds another or a damaged index, or other files.
        StudyError, LossError, MethodError, CurvatureError: as `attribute`.
    """

    def __init__(
        self,
        study: Study,
        folder: str | Path,
        *,
        stage: str | None = None,
        method: str = "cg",
        damping: float | None = None,
        curvature: str = "ggn",
        device: torch.device | str | None = None,
        progress: bool = True,
        **options: Any,
    ):
        self.method, solver = method, solver_of(method, damping, curvature, options)
        place = device_of(study, device)
        with derivatives_named(study), Progress(visible=progress) as bars:
            with bars.step(f"Curvature ({method})"):
                self.chain = Chain(study, study.position(stage), solver, device=place)
            self.objective = self.chain.objectives[0]
            with bars.step(f"Index of {self.objective.stage.name}", total=self.objective.count) as bar:
                self.gradients = Gradients(self.objective, Path(folder), bar.advance)
        self.bytes = self.gradients.bytes
        some = range(min(PROBE_QUERIES, len(study.queries)))
        self.error = self.gradients.error(self._solved(torch.utils.data.Subset(study.queries, some)))

    def query(self, queries: Any) -> Scores:
        """Scores of new queries, a dataset of the last stage's form, without reading the training data.

        Returns:
            `Scores` (n_queries, n_examples); the report has `index_error` and, in seconds, `gradient_and_solve` and
            `product`.
        """
        check_dataset(queries, "queries")
        started = time.perf_counter()
        with derivatives_named(self.chain.study):
            solved = self._solved(queries)
        solve = time.perf_counter() - started
        values = self.scores(solved)
        times = {"gradient_and_solve": solve, "product": time.perf_counter() - started - solve}
        report = report_of(self.chain, self.method) | {"index_error": self.error} | times
        return Scores(values.cpu().numpy(), self.objective.stage.name, report)

    @callers_modes_off()
    def scores(self, solved: Tensor) -> Tensor:
        """Scores of queries pulled back to the stage and solved there, (Q, T) -> (Q, m), nats, positive = helpful."""
        return self.gradients.dots(solved).T / self.objective.count

    def _solved(self, queries: Any) -> Tensor:
        return self.chain.pull_to_first(self.chain.query_gradients(queries))[1]
