"""The scores of one run: by its method and by the ablation, and what each training example does to itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pandas as pd
import torch
import zarr

from influence.attribution import report_of
from influence.chain import Chain
from influence.curvature import Method, method_named
from influence.derivatives import Objective
from influence.description import self_influence
from influence.progress import Bar
from influence.run import Draft
from influence.shards import drop_vectors, fill, filled, keep_vectors, scores_file, vectors_of
from influence.studies.exhibit import Exhibit
from influence.study import Stage
from influence.tokens import shares_of_strongest

Step = Callable[..., AbstractContextManager[Bar]]


class Scorer:
    """Scores the trained models of an exhibit into a draft.

    Args:
        exhibit, draft: what of, where to.
        objectives: of its stages, at their trained parameters.
        solvers: fitted ones, which runs that share a stage share.
        device: where to compute.
        step: shows a bar.
    """

    def __init__(
        self,
        exhibit: Exhibit,
        draft: Draft,
        objectives: list[Objective],
        solvers: dict[tuple[Any, ...], Method],
        device: torch.device,
        step: Step,
    ):
        self.exhibit, self.draft, self.objectives, self.step = exhibit, draft, objectives, step
        self.solvers, self.device = solvers, device

    def score(self) -> tuple[list[dict[str, Any]], list[str]]:
        """The manifest's records of all score arrays, and warnings."""
        records: list[dict[str, Any]] = []
        warnings: list[str] = []
        for method in dict.fromkeys((self.exhibit.method, "identity")):
            pulled = self._pull(method)
            for objective in self.objectives:
                self._fill(objective, method)
                if method == self.exhibit.method:
                    self._split(objective, method)
            drop_vectors(self.draft, method)
            records += [
                {"stage": name, "method": method, "file": scores_file(name, method), "report": report}
                for name, report in pulled["reports"].items()
            ]
            warnings += pulled["warnings"] if method == self.exhibit.method else []
        return records, warnings

    def self_influence(self, stage: Stage) -> tuple[pd.DataFrame, list[str]]:
        """Columns for the table of a stage's examples, and what was left out."""
        step, file = f"self-influence {stage.name}", f"work/self-{stage.name}"
        if step not in self.draft.steps:
            objective = next(o for o in self.objectives if o.stage is stage)
            with self.step(f"self-influence of {stage.name}", total=len(stage.data)) as bar:
                solver = self._solver(objective, self.exhibit.method)
                table, left_out = self_influence(objective, solver, bar.advance)
            self.draft.write_table(file, table)
            self.draft.mark(step, left_out)
        return pd.read_parquet(self.draft.path(f"{file}.parquet")), self.draft.steps[step]

    def _pull(self, method: str) -> dict[str, Any]:
        """Fit the curvature and pull every query back through the stages; what was solved goes to the draft."""
        step = f"pull {method}"
        if step not in self.draft.steps:
            with self.step(f"curvature ({method})"):
                chain = Chain(self.exhibit.study, 0, lambda o: self._solver(o, method), device=self.device)
            with self.step(f"pulling {len(self.exhibit.study.queries)} queries back ({method})"):
                pulled = chain.pull_back(chain.query_gradients())
                keep_vectors(self.draft, method, {o.stage.name: solved for o, solved in pulled})
            report = report_of(chain, method)
            # Copied: solving for self-influence puts its own residuals into the solvers' reports.
            solvers = zip(chain.objectives, chain.solvers, strict=True)
            reports = {o.stage.name: copy.deepcopy(solver.report) for o, solver in solvers}
            self.draft.mark(step, {"reports": reports, "warnings": report["warnings"] + report["notes"]})
        return self.draft.steps[step]

    def _fill(self, objective: Objective, method: str) -> None:
        name = objective.stage.name
        if self.draft.steps.get(filled(name, method)) == objective.count:
            return
        with self.step(f"scoring {name} ({method})", total=objective.count) as bar:
            fill(self.draft, method, objective, vectors_of(self.draft, method, name).to(self.device), bar)

    def _split(self, objective: Objective, method: str) -> None:
        """The scores of the strongest pairs, split over tokens, where the stage's loss is a sum over tokens."""
        name, step = objective.stage.name, f"split {objective.stage.name}"
        if name not in self.exhibit.token_losses or step in self.draft.steps:
            return
        vectors, scores = (
            vectors_of(self.draft, method, name),
            zarr.open_array(self.draft.path(scores_file(name, method)), mode="r"),
        )
        lengths = self.exhibit.tokens[name]["starts"].map(len).tolist()
        with self.step(f"splitting the strongest of {name} over tokens", total=len(vectors)) as bar:
            table = shares_of_strongest(
                objective, self.exhibit.token_losses[name], vectors, scores, lengths, bar.advance
            )
            self.draft.write_shares(name, method, table)
        self.draft.mark(step)

    def _solver(self, objective: Objective, method: str) -> Method:
        damping = self.exhibit.damping if method == self.exhibit.method else None
        key = (id(objective.stage), method, self.exhibit.curvature, damping)
        if key not in self.solvers:
            made = method_named(method)
            self.solvers[key] = made(objective, curvature=self.exhibit.curvature, damping=damping)
        return self.solvers[key]
