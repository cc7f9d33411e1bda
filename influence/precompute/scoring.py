"""The scores of a run, by its own method and by others, and the self-influence of its training examples."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import zarr

from influence.attribution.chain import Chain
from influence.attribution.edits.amounts import Sizes, doubts, leading, sizes_of_strongest
from influence.attribution.report import report_of
from influence.attribution.span import MixedDerivative
from influence.curvature import Method
from influence.curvature.cards import IDENTITY
from influence.curvature.method import PER_QUERY
from influence.derivatives import Objective
from influence.derivatives.remarks import Remarks
from influence.precompute.pieces.job import solver_of_run
from influence.precompute.pieces.keeping import Keeping
from influence.precompute.pieces.query_block import query_blocks, reports_of
from influence.precompute.pieces.query_vectors import QueryVectors
from influence.precompute.pieces.scores import SpanScores, begin, scores_of
from influence.precompute.pieces.self_influence import SpanSelfInfluence, folder_of, self_influence_of, together
from influence.precompute.pieces.sharing import Pieces, Step
from influence.precompute.pieces.sums import discard, gathered
from influence.precompute.pieces.work import Work
from influence.precompute.shares import shares_of_strongest
from influence.progress import Bar
from influence.run.draft import Draft
from influence.run.files import scores_file
from influence.run.records import ScoreRecord
from influence.studies.exhibit import Exhibit
from influence.study.stage import Stage


class Scorer:
    """Scores the trained models of an exhibit into a draft.

    Args:
        exhibit, draft: what of, where to.
        objectives: of its stages, at their trained parameters.
        solvers: fitted ones, which runs that share a stage share, with what fitting them remarked on.
        halvings: of the batches, where memory ran out.
        step: shows a bar.
        pieces: what computes pieces, of what this process computes them from.
        queries: the run's table of queries, with predictions.
    """

    def __init__(
        self,
        exhibit: Exhibit,
        draft: Draft,
        objectives: list[Objective],
        solvers: dict[tuple[Any, ...], tuple[Method, Remarks]],
        halvings: int,
        step: Step,
        pieces: Callable[[Work], Pieces],
        queries: Callable[[], pd.DataFrame],
    ):
        self.exhibit, self.draft, self.objectives, self.step = exhibit, draft, objectives, step
        self.solvers, self.halvings, self.queries = solvers, halvings, queries
        self.pieces = pieces(Work(exhibit.study, objectives, self._solver, draft.folder, exhibit.error))
        self._used: set[tuple[Any, ...]] = set()
        self._chains: dict[str, Chain] = {}
        # Of all methods: what their queries span is often the same.
        self._mixed = [self._kept_mixed(objective) for objective in objectives]
        for objective in objectives:
            draft.hear(vars(objective.remarks))

    def score(self, method: str) -> list[ScoreRecord]:
        """The manifest's records of a method's score arrays."""
        reports = self._pull(method, vectors=not all(self._is_filled(o, method) for o in self.objectives))
        for objective in self.objectives:
            name = objective.stage.name
            self._fill(objective, method)
            reports[name]["compression"] = self._compression(objective, method)
        for name, reasons in self._doubts(method, reports).items():
            reports[name]["order_only"] = reasons
        if method != self.exhibit.method or not self.exhibit.token_losses:
            self._forget(method)
        return [self._record(objective, method, reports[objective.stage.name]) for objective in self.objectives]

    def _record(self, objective: Objective, method: str, report: dict[str, Any]) -> ScoreRecord:
        name, most = objective.stage.name, self.exhibit.strongest
        slices = tuple(self._keeping(objective, method).slices) if most else ()
        return ScoreRecord(name, method, scores_file(name, method), report, most, slices)

    def split(self) -> None:
        """The scores of the strongest pairs, split over tokens, of the stages whose loss is a sum over tokens."""
        for objective in self.objectives:
            self._split(objective, self.exhibit.method)
        self._forget(self.exhibit.method)

    def _forget(self, method: str) -> None:
        """Delete the queries' vectors, and what was kept of the scores for checks."""
        for objective in self.objectives if self.exhibit.strongest else ():
            self._keeping(objective, method).discard()
        self.draft.discard([f"pull {method}"], f"work/queries-{method}")

    def self_influence(self, stage: Stage, known: dict[Any, Any]) -> pd.DataFrame:
        """Columns for the table of a stage's examples.

        They are the same in every run that shares the stage and how it is solved: `known` has those of earlier runs.
        """
        step, file = f"self-influence {stage.name}", f"work/self-{stage.name}"
        if step not in self.draft.steps:
            objective = next(o for o in self.objectives if o.stage is stage)
            key, parts = self._key(objective, self.exhibit.method), list[SpanSelfInfluence]()
            if key not in known:
                with self.step(f"self-influence of {stage.name}", total=objective.count) as bar:
                    parts = self_influence_of(objective, self._solver(objective, self.exhibit.method))
                    self.pieces.compute(parts, bar)
                known[key] = together(parts, self.draft.folder), objective.remarks
            table, remarks = known[key]
            self.draft.hear(vars(remarks))
            self.draft.write_table(file, table)
            self.draft.mark(step)
            self.draft.drop([part.step for part in parts], folder_of(stage.name))
        return pd.read_parquet(self.draft.path(f"{file}.parquet"))

    def _pull(self, method: str, vectors: bool) -> dict[str, Any]:
        """Fit the curvature and pull every query back through the stages; what was solved goes to the draft.

        Args:
            method: to solve by.
            vectors: whether they are needed: they were deleted if the scores that they gave were lost later.
        """
        step = f"pull {method}"
        if step not in self.draft.steps or (vectors and not self.draft.journal.names_files_of(step)):
            chain = self._chain(method)
            count = len(self.exhibit.study.queries)
            with self.step(f"pulling queries back ({method})", total=count) as bar:
                reports = self._pull_in_parts(chain, method, bar)
            for solver in chain.solvers:  # it has those of the last part of the queries
                found = reports[solver.report["stage"]]
                solver.report |= {key: found[key] for key in PER_QUERY if key in found}
            report = report_of(chain, method)
            self.draft.hear(report)
            for told in report["stages"]:
                reports[told["stage"]] = told | reports[told["stage"]]
            self.draft.wrote(f"work/queries-{method}")
            self._keep_mixed()
            self.draft.mark(step, reports)
        return self.draft.steps[step]

    def _chain(self, method: str) -> Chain:
        if method not in self._chains:
            with self.step(f"curvature ({method})"):
                self._chains[method] = Chain(
                    self.exhibit.study,
                    0,
                    lambda o: self._solver(o, method),
                    device=self.objectives[0].device,
                    halvings=self.halvings,
                    mixed=self._mixed,
                )
                self._keep(self._chains[method], method)
        return self._chains[method]

    def _doubts(self, method: str, reports: Mapping[str, Any]) -> dict[str, list[str]]:
        """Stage -> reasons why the size of its scores by a method means nothing; a method that has no unit needs none.

        Args:
            method: that the scores are by, all of which are filled.
            reports: stage -> what its solver reports.
        """
        if method == IDENTITY.name:
            return {}
        step = f"amounts {method}"
        if step not in self.draft.steps:
            chain, found = self._chain(method), {}
            newton_changes = [reports[o.stage.name].get("newton_change", 0.0) for o in chain.objectives]
            with self.step(f"whether scores are amounts ({method})", total=len(chain.objectives)) as bar:
                for position, objective in enumerate(chain.objectives):
                    name = objective.stage.name
                    found[name] = doubts(chain, position, self._promised(objective, method), newton_changes)
                    bar.advance()
            self.draft.mark(step, found)
        self._chains.pop(method, None)  # its vectors are long
        return self.draft.steps[step]

    def _promised(self, objective: Objective, method: str) -> Sizes | zarr.Array:
        """A stage's scores; where they are not all kept, what they promise."""
        if not self.exhibit.strongest:
            return zarr.open_array(self.draft.path(scores_file(objective.stage.name, method)), mode="r")
        rows, scores = self._keeping(objective, method).sizes()
        leaders = leading(rows, scores, objective.count)
        scoring = self.pieces.work.scoring(objective.stage.name, method)
        columns = [block.cpu().numpy() for at in leaders for _, block in scoring.batches(at, at + 1)]
        return sizes_of_strongest(scores, objective.count, leaders, np.concatenate(columns, axis=1))

    def _keep(self, chain: Chain, method: str) -> None:
        """What the solvers found, so that neither this run, taken up again, nor a new question has to find it anew."""
        for objective in chain.objectives:
            self.draft.hear(vars(objective.remarks))
        step, states = f"curvature {method}", [solver.state() for solver in chain.solvers]
        if step in self.draft.steps or not any(states):
            return
        for objective, state in zip(chain.objectives, states, strict=True):
            self.draft.write_curvature(objective.stage.name, method, state)
        self.draft.mark(step)
        for objective in chain.objectives:
            discard(self.pieces, objective.stage.name, method)

    def _kept_mixed(self, objective: Objective) -> MixedDerivative:
        """A stage's mixed derivative, with what an interrupted process has computed of it."""
        file = mixed_file(objective.stage.name)
        kept = self.draft.tensors(file) if self.draft.path(file).is_file() else {}
        return MixedDerivative({name: tensor.to(objective.device) for name, tensor in kept.items()})

    def _keep_mixed(self) -> None:
        """Keep what the first pull computed of the mixed derivatives: a run that is taken up again goes on with it."""
        for objective, mixed in zip(self.objectives, self._mixed, strict=True):
            file = mixed_file(objective.stage.name)
            if (state := mixed.state()) and not self.draft.path(file).is_file():
                self.draft.write_tensors(file, state)

    def _pull_in_parts(self, chain: Chain, method: str, bar: Bar) -> dict[str, Any]:
        """A block of queries at a time; what solvers report of all. The first block's queries check the chain."""
        self.pieces.work.advance, self.pieces.work.folder = bar.advance, self.draft.folder
        first, *others = query_blocks(chain.objectives, method, len(self.exhibit.study.queries))
        there = [block for block in others if block.is_there(self.draft, self.pieces.work)]
        self.draft.forget([block.step for block in others if block not in there])
        for objective in chain.objectives if not there else ():
            self._vectors(objective, method).create()
        record = first.pull(chain, self.pieces.work)
        self.pieces.compute(others, bar)
        reports = reports_of([record, *(self.draft.steps[block.step] for block in others)])
        self.draft.forget([block.step for block in others])
        return reports

    def _vectors(self, objective: Objective, method: str) -> QueryVectors:
        self.pieces.work.folder = self.draft.folder
        return self.pieces.work.vectors(objective.stage.name, method)

    def _parts(self, objective: Objective, method: str) -> list[SpanScores]:
        return scores_of(objective, method, len(self.exhibit.study.queries))

    def _is_filled(self, objective: Objective, method: str) -> bool:
        if self.exhibit.strongest:
            return self._keeping(objective, method).filled
        return all(part.step in self.draft.steps for part in self._parts(objective, method))

    def _compression(self, objective: Objective, method: str) -> Any:
        if self.exhibit.strongest:
            return self._keeping(objective, method).compression
        return self.draft.steps[self._parts(objective, method)[0].step]

    def _keeping(self, objective: Objective, method: str) -> Keeping:
        return Keeping(self.pieces, objective, method, self.exhibit.strongest)

    def _fill(self, objective: Objective, method: str) -> None:
        if self._is_filled(objective, method):
            return
        name = objective.stage.name
        with self.step(f"scoring {name} ({method})", total=objective.count) as bar:
            if self.exhibit.strongest:
                keeping = self._keeping(objective, method)
                keeping.plan(self.exhibit.examples[name], self.queries, self.exhibit.seed)
                keeping.fill(bar)
                return
            begin(self.draft, objective, method, len(self.exhibit.study.queries))
            self.pieces.compute(self._parts(objective, method), bar)

    def _split(self, objective: Objective, method: str) -> None:
        name, step = objective.stage.name, f"split {objective.stage.name}"
        if name not in self.exhibit.token_losses or step in self.draft.steps:
            return
        self._pull(method, vectors=True)  # again, if they were lost
        vectors = self._vectors(objective, method)
        lengths = self.exhibit.tokens[name]["starts"].map(len).tolist()
        with self.step(f"splitting the strongest of {name} over tokens", total=vectors.count) as bar:
            table = shares_of_strongest(
                objective, self.exhibit.token_losses[name], vectors, self._rows(objective, method), lengths, bar.advance
            )
            self.draft.write_shares(name, method, table)
        self.draft.mark(step)

    def _rows(self, objective: Objective, method: str) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
        """Query -> rows of examples and their scores, among which its strongest are."""
        if self.exhibit.strongest:
            rows, scores = self._keeping(objective, method).sizes()
            return lambda query: (rows[query], scores[query])
        array = zarr.open_array(self.draft.path(scores_file(objective.stage.name, method)), mode="r")
        return lambda query: (np.arange(objective.count), np.asarray(array[query]))

    def _key(self, objective: Objective, method: str) -> tuple[Any, ...]:
        """What a solver depends on."""
        damping = self.exhibit.damping if method == self.exhibit.method else None
        return id(objective.stage), method, self.exhibit.curvature, damping

    def _solver(self, objective: Objective, method: str) -> Method:
        key = self._key(objective, method)
        if key not in self.solvers:
            _, _, curvature, damping = key
            known = f"curvature {method}" in self.draft.steps
            if known:
                state = self.draft.curvature(objective.stage.name, method)
            else:
                # Without an inverse, fitting says so before any pass over the data.
                state = {} if damping == 0 else gathered(self.pieces, objective, method, self.step)
            solver = solver_of_run(objective, method, curvature, damping, state)
            self.solvers[key] = solver, copy.deepcopy(objective.remarks)
        solver, fitted = self.solvers[key]
        if key not in self._used:
            # Of another run, whose queries are not this one's: only what fitting remarked on holds here.
            if solver.objective is not objective:
                solver.objective.remarks = copy.deepcopy(fitted)
            self.draft.hear(vars(solver.objective.remarks))
            self._used.add(key)
        return solver


def mixed_file(stage: str) -> str:
    """The file of what was computed of a stage's mixed derivatives."""
    return f"work/mixed-{stage}.safetensors"
