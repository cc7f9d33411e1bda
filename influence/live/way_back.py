"""`WayBack`: from a run's predictions back to its training examples, ready for any query.

Before the first answer, the curvature is read from the run, or fitted. Questions about new predictions also wait until
the gradients of all training examples are written into files (`attribution/index/gradients.py`).
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from influence.attribution.chain import Chain
from influence.attribution.index.gradients import Gradients, expected_bytes
from influence.attribution.products.score import score
from influence.attribution.report import warnings_of
from influence.curvature import Method, method_named
from influence.derivatives import Objective
from influence.derivatives.modes import callers_modes_off
from influence.run.reading import Run
from influence.studies.exhibit import Exhibit
from influence.study.study import Study

MAX_GRADIENT_BYTES = 2**33
"""Gradients of a stage up to this size in float32 are stored (in less than half of it); else every query is a pass over
the data."""


class WayBack:
    """Of one run, made ready by `warm_up` or by the first question.

    Args:
        run: a finished run.
        exhibit: what it was computed from, with the run's models.

    Attributes:
        lock: whoever uses the chain holds it, one at a time.
    """

    def __init__(self, run: Run, exhibit: Exhibit):
        self.run, self.exhibit, self.lock = run, exhibit, threading.Lock()

    @cached_property
    def chain(self) -> Chain:
        """The stages of the study, with the curvature that the run keeps, or fitted."""

        def kept(stage: str) -> dict[str, Tensor]:
            return self.run.curvature(stage, self.exhibit.method)

        return self.chain_of(self.exhibit.study, kept)

    def chain_of(self, study: Study, kept: Callable[[str], Mapping[str, Tensor]] = lambda _: {}) -> Chain:
        """The stages of a study like the run's, solved as these are; `kept` gives a stage's curvature, if known."""
        exhibit, chosen = self.exhibit, method_named(self.exhibit.method)

        def solver(objective: Objective) -> Method:
            state = kept(objective.stage.name)
            given: dict[str, Any] = {"state": state} if state else {}
            return chosen(objective, curvature=exhibit.curvature, damping=exhibit.damping, **given)

        return Chain(study, 0, solver)

    @cached_property
    def gradients(self) -> dict[str, Gradients]:
        """Of the examples of every stage for which there is the space, packed."""
        found = {}
        for objective in self.chain.objectives:
            # Gone at once: the files stay mapped into memory, and nothing is left behind however this process ends.
            with tempfile.TemporaryDirectory(prefix="upstream-", ignore_cleanup_errors=True) as folder:
                if expected_bytes(objective) < min(MAX_GRADIENT_BYTES, shutil.disk_usage(folder).free / 2):
                    found[objective.stage.name] = Gradients(objective, Path(folder) / "gradients")
        return found

    @cached_property
    def errors(self) -> dict[str, float]:
        """Stage -> relative error that packing makes in its examples' scores, measured on the run's first query."""
        first = torch.utils.data.Subset(self.exhibit.study.queries, [0])
        return {
            objective.stage.name: self.gradients[objective.stage.name].error(solved)
            for objective, solved in self.chain.pull_back(self.chain.query_gradients(first))
            if objective.stage.name in self.gradients
        }

    @property
    def ready(self) -> bool:
        """Whether an answer waits for nothing but itself."""
        return "gradients" in vars(self)

    @callers_modes_off()
    def warm_up(self) -> None:
        """Do now what the first answer needs."""
        with self.lock:
            _ = self.errors

    @property
    def remarks(self) -> tuple[list[str], list[str]]:
        """(What makes scores something else than they claim, what takes their unit), as far as it is known."""
        with self.lock:
            return warnings_of(self.chain) if "chain" in vars(self) else ([], [])

    def objective(self, stage: str) -> Objective:
        """The objective of a stage.

        Raises:
            StudyError: there is no such stage.
        """
        return self.chain.objectives[self.exhibit.study.position(stage)]

    def products(self, objective: Objective, solved: Tensor) -> Tensor:
        """Scores (m,) of a stage's examples for one solved query (1, T), by a pass over the data if none are kept."""
        kept = self.gradients.get(objective.stage.name) if self.ready else None
        if kept is None:
            return torch.cat([block[0] for _, block in score(objective, solved)])
        return kept.dots(solved)[:, 0] / objective.count
