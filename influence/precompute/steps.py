"""The steps from one exhibit to a finished run: train, solve, score, map; resumable, with progress."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch

from influence.attribution.guards import derivatives_named
from influence.attribution.report import peak_memory, unit_of
from influence.curvature import Method
from influence.curvature.cards import IDENTITY
from influence.derivatives import Objective
from influence.derivatives.batch_size import widen
from influence.derivatives.objective import objectives_of
from influence.derivatives.remarks import Remarks
from influence.engine.pieces import Engine
from influence.precompute.data_read import DataRead
from influence.precompute.embedding import embedded, map_of
from influence.precompute.manifest import stage_record, unlike_processors, versions
from influence.precompute.needs import methods_of
from influence.precompute.pieces.job import RunJob
from influence.precompute.pieces.keeping import SAMPLE
from influence.precompute.pieces.sharing import Pieces
from influence.precompute.pieces.work import Work
from influence.precompute.predictions import predictions, query_tokens
from influence.precompute.scoring import Scorer
from influence.precompute.seeds.trainings import Trainings
from influence.precompute.shares import SCORES_SPLIT
from influence.progress import Bar, Progress
from influence.run.draft import REMARKS, Draft
from influence.run.files import MAP, QUERIES_FILE, SHARES, model_file, sample_file
from influence.run.parquet.forms import QUERIES
from influence.run.reading import Run
from influence.run.records import Manifest, MapRecord, ScoreRecord
from influence.studies.exhibit import Exhibit, recipe_of
from influence.study.stage import Stage
from influence.training.fitting import fit, standing
from influence.training.readings import Readings
from influence.training.retraining import ParameterValues


class Shared:
    """What runs have in common: solvers and self-influence by stage object and settings, runs by first stage."""

    def __init__(self) -> None:
        self.solvers: dict[tuple[Any, ...], tuple[Method, Remarks]] = {}
        self.self_influence_tables: dict[tuple[Any, ...], tuple[pd.DataFrame, Remarks]] = {}
        self.runs: list[tuple[Stage, Run]] = []
        self.readings: dict[int, Readings] = {}
        """Of data sets, by their identity: what they were when the first run read them."""
        self.starts: dict[Stage, ParameterValues] = {}
        """Of the stages that are trained from several seeds: their parameters before any training."""


class Steps:
    """The steps of one run, in order."""

    def __init__(
        self,
        exhibit: Exhibit,
        name: str,
        root: Path,
        device: torch.device,
        bars: Progress,
        shared: Shared,
        halvings: int,
        engine: Engine | None = None,
    ):
        self.exhibit, self.name, self.device, self.bars, self.shared = exhibit, name, device, bars, shared
        self.study, self.halvings, self.engine = exhibit.study, halvings, engine
        self.draft = Draft(root, name, exhibit.all_settings)
        if self.draft.lost:
            bars.say(self.draft.lost)
        self.objectives = self._objectives()
        self.data = DataRead(self.study, self.draft, shared.readings)
        self.tables: dict[str, pd.DataFrame] = {}

    def run(self) -> Run:
        with self.draft.locked():
            if not self.draft.steps:
                self._describe()  # a table or a loss that does not fit is found before training, not after
                if self.exhibit.vectors is not None:
                    self.exhibit.vectors(self.exhibit.queries["text"].tolist()[:1])
            self.data.begin()
            trained = {stage.name: self._train(i, stage) for i, stage in enumerate(self.study.stages)}
            self.objectives = self._objectives()
            scorer = Scorer(
                self.exhibit, self.draft, self.objectives, self.shared.solvers, self.halvings, self._step, self._pieces,
                self._query_table,
            )  # fmt: skip
            with derivatives_named(self.study):
                run = Run.open(self.draft.final) if self.draft.finished else self._first(trained, scorer)
                self.bars.run(self.name, readable=True)
                for part in run.pending:
                    changes = self._part(part, run, scorer)
                    run = self.draft.add(part, changes | self._spent(run.manifest.timings, run.manifest.peak_memory))
            return run

    def _first(self, trained: dict[str, Any], scorer: Scorer) -> Run:
        """The run as soon as its lists can be read: models, tables, and scores by the run's own method."""
        self._describe()
        self.query_tokens = query_tokens(self.exhibit, self.objectives[-1])
        scores = scorer.score(self.exhibit.method)
        if self.exhibit.seeds > 1:
            again = Trainings(self.exhibit, self.draft, self.shared.starts, self.device, self._step)
            scores = again.averaged(scores)
        for stage in self.study.stages:
            extra = scorer.self_influence(stage, self.shared.self_influence_tables)
            self.tables[stage.name][list(extra.columns)] = extra.to_numpy()
        return self._finish(trained, scores)

    def _query_table(self) -> pd.DataFrame:
        """The queries with their predictions; of a run that can be read, its own."""
        return pd.read_parquet(self.draft.path(QUERIES_FILE)) if self.draft.finished else self.queries

    def _parts(self) -> list[str]:
        """What is added to the run afterwards, in the order in which visitors miss it."""
        # Shares of the first training's scores do not add up to means.
        shares = [SHARES] if self.exhibit.token_losses and self.exhibit.seeds == 1 else []
        return [*shares, MAP, *(method for method in methods_of(self.exhibit) if method != self.exhibit.method)]

    def _part(self, part: str, run: Run, scorer: Scorer) -> dict[str, Any]:
        """Compute a part; the fields of the manifest that it changes."""
        told = run.manifest
        if part == MAP:
            return {"map": self._place()}
        if part == SHARES:
            scorer.split()
            shares = {f"{stage}-{self.exhibit.method}": SCORES_SPLIT for stage in self.exhibit.token_losses}
            return {"shares": shares} | self._remarked(told.scores, told.warnings, told.notes)
        return self._remarked((*told.scores, *scorer.score(part)), told.warnings, told.notes)

    def _pieces(self, work: Work) -> Pieces:
        """What computes pieces; workers begin to make their models while this process has other things to do."""
        if self.engine is None:
            return Pieces(self.draft, work, self.bars.say)
        device = self.engine.device or str(self.device)
        job = RunJob.of(self.exhibit, self.draft.folder, self.objectives, device, self.engine.threads, self.halvings)
        self.engine.begin(job)
        return Pieces(self.draft, work, self.bars.say, self.engine, job)

    @contextlib.contextmanager
    def _step(self, description: str, total: float | None = None) -> Iterator[Bar]:
        """A bar; after the step, the data must be what they were before it."""
        with self.bars.step(f"{self.name}: {description}", total) as bar:
            yield bar
        self.data.refuse_changed()

    def _objectives(self) -> list[Objective]:
        found = objectives_of(self.study, device=self.device, halvings=self.halvings)
        widen(found)
        return found

    # Training

    def _train(self, position: int, stage: Stage) -> dict[str, Any]:
        """Put the stage's model at its minimum: from the draft, from a sibling run, or by fitting it."""
        step, previous = f"fit {stage.name}", self.study.stages[position - 1] if position else None
        if step in self.draft.steps:
            load_model(stage, self.draft.path(model_file(stage.name)))
            return self.draft.steps[step]
        record = self._from_sibling(stage) if position == 0 and self.exhibit.train else None
        if record is None:
            with self._step(f"training {stage.name}", total=1) as bar:
                record = self._fit(stage, previous, bar.at)
        self.draft.write_model(stage.name, stage.model.state_dict())
        self.draft.mark(step, record)
        self._kept(stage).unlink(missing_ok=True)
        return record

    def _fit(self, stage: Stage, previous: Stage | None, report: Any) -> dict[str, Any]:
        if not self.exhibit.train:
            return standing(stage, previous, self.device, self.halvings)
        return fit(stage, previous, recipe_of(self.exhibit, stage), self.device, self._kept(stage), report)

    def _kept(self, stage: Stage) -> Path:
        """Where a training under way leaves where it stands."""
        return self.draft.path(f"work/training-{stage.name}.checkpoint")

    def _from_sibling(self, stage: Stage) -> dict[str, Any] | None:
        """The first stage as a sibling run has it, copied into the model."""
        sibling = self._sibling()
        if sibling is None:
            return None
        stage.model.load_state_dict(sibling.models()[stage.name])
        return dataclasses.asdict(sibling.stage(stage.name).training)

    def _sibling(self) -> Run | None:
        """A finished run whose first stage is the same object: equal settings would not mean equal data."""
        return next((run for stage, run in self.shared.runs if stage is self.study.stages[0]), None)

    # What is shown

    def _describe(self) -> None:
        """The tables of every stage's examples and of the queries, with what the models say of them."""
        for objective in self.objectives:
            name = objective.stage.name
            shown = predictions(
                objective, objective.stage.data, self.exhibit.examples[name], self.exhibit.classes[name]
            )
            self.tables[name] = shown.drop(columns="probabilities", errors="ignore")
        last = self.objectives[-1]
        self.queries = predictions(
            last, self.study.queries, self.exhibit.queries, self.exhibit.classes[last.stage.name], self.study.measure
        )

    def _place(self) -> MapRecord:
        """The map of the first stage's examples, with the queries projected into it."""
        first = self.study.stages[0].name
        if "map" not in self.draft.steps:
            sibling = self._sibling()
            if (
                sibling is not None
                and sibling.embedding()
                and all(sibling.manifest.settings.get(key) == self.draft.settings[key] for key in ("queries", "seed"))
            ):
                places, projected = sibling.examples(first)[["x", "y"]], sibling.queries()[["x", "y"]]
                vectors, others = (np.asarray(array[:]) for array in sibling.embedding() or ())
                record = dataclasses.asdict(sibling.manifest.map)
            else:
                rows = self._sample()
                with self._step("map of the embedding"):
                    vectors, others = embedded(self.exhibit, self.objectives, rows)
                    found, near, algorithm = map_of(vectors, others, self.exhibit.seed)
                if rows is not None:  # the others have no place
                    whole = np.full((len(self.study.stages[0].data), 2), np.nan, found.dtype)
                    whole[rows], vectors = found, None
                    found, algorithm = whole, f"{algorithm}, of a random {len(rows):,}"
                places, projected = pd.DataFrame(found, columns=["x", "y"]), pd.DataFrame(near, columns=["x", "y"])
                whose = f"the {first} model's" if self.exhibit.vectors is None else "a sentence model's"
                record = {"stage": first, "algorithm": algorithm, "of": f"{whose} embedding"}
            self.draft.write_table(f"map/{first}", places)
            self.draft.write_table("map/queries", projected)
            if vectors is not None:
                self.draft.write_array("embedding/examples", vectors)
                self.draft.write_array("embedding/queries", others)
            self.draft.mark("map", record)
        return MapRecord(**self.draft.steps["map"])

    def _sample(self) -> np.ndarray | None:
        """Rows of the first stage's examples that the map is of, where a run keeps the strongest scores; None: all."""
        stage = self.study.stages[0]
        if not self.exhibit.strongest or len(stage.data) <= SAMPLE:
            return None
        return pd.read_parquet(self.draft.path(sample_file(stage.name)))["example"].to_numpy()

    # What is written

    def _remarked(
        self, scores: Sequence[ScoreRecord], warnings: Sequence[str], notes: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Fields of the manifest with what the steps have told by now: sentences, and the unit of the scores."""
        told = {kind: self.draft.remarks.get(kind, []) for kind in REMARKS}
        restated, lost = [], list[str](told["order_only"])
        for record in scores:
            own = list(dict.fromkeys([*told["order_only"], *record.report.get("order_only", ())]))
            unit = {"unit": unit_of(record.method, own), "order_only": own}
            restated.append(dataclasses.replace(record, report={**record.report, **unit}))
            lost += own
        return {
            "scores": tuple(restated),
            "warnings": tuple(dict.fromkeys([*warnings, *lost, *told["warnings"]])),
            "notes": tuple(dict.fromkeys([*notes, *told["notes"]])),
        }

    def _finish(self, trained: dict[str, Any], scores: list[ScoreRecord]) -> Run:
        # The map's columns, which come later: own ones of these names would be taken for it.
        mapped = self.study.stages[0].name
        self.tables[mapped] = self.tables[mapped].drop(columns=["x", "y"], errors="ignore")
        self.queries = self.queries.drop(columns=["x", "y"], errors="ignore")
        for stage in self.study.stages:
            self.draft.write_table(f"examples/{stage.name}", self.tables[stage.name])
        self.draft.write_table("queries", self.queries)
        for name, tokens in self.exhibit.tokens.items():
            known = self.query_tokens if name == QUERIES else None
            self.draft.write_table(f"tokens/{name}", tokens if known is None else known)
        for name, votes in self.exhibit.votes.items():
            self.draft.write_table(f"votes/{name}", votes.named(self.exhibit.classes[name]))
        if self.exhibit.tokenizer:
            self.draft.write_text("tokenizer.json", self.exhibit.tokenizer)
        smallest = {
            record.stage: record.report.get("smallest_eigenvalue")
            for record in scores
            if record.report["curvature"] == "hessian"
        }
        stages = [
            stage_record(
                o,
                list(self.exhibit.classes[o.stage.name]),
                self.tables[o.stage.name],
                self.queries if o is self.objectives[-1] else None,
                trained[o.stage.name],
                smallest.get(o.stage.name),
            )
            for o in self.objectives
        ]
        # Of all other methods the report says what the way to the minimum is worth beside a score.
        stopped = [
            f"Stage {s.name!r} stopped at gradient norm {s.training.gradient_norm:.2g}, short of its tolerance."
            for s in stages
            if self.exhibit.method == IDENTITY.name and s.training.converged is False
        ]
        return self.draft.finish(
            Manifest(
                study=self.study.name,
                variant=self.exhibit.variant,
                asked=dict(self.exhibit.asked),
                title=self.exhibit.title,
                summary=self.exhibit.summary,
                created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                seed=self.exhibit.seed,
                measure=self.exhibit.measure,
                stages=tuple(stages),
                default_method=self.exhibit.method,
                map=MapRecord(),
                versions=versions(self.device, self.engine),
                **self._remarked(scores, [*self.exhibit.notes, *stopped], self._notes()),
                **self._spent(),
            ),
            self._parts(),
        )

    def _notes(self) -> list[str]:
        """What the scores are means over, if they are, and who computed them, if that matters."""
        told = unlike_processors(self.engine)
        if self.exhibit.seeds == 1:
            return told
        return [
            *told,
            f"Scores by {self.exhibit.method} are means over {self.exhibit.seeds} trainings from other seeds. The "
            "models, other methods, self-influence and answers to new questions are of the first, and so are the "
            "checks whether scores can be amounts.",
        ]

    def _spent(self, before: Mapping[str, float] = MappingProxyType({}), peak: int = 0) -> dict[str, Any]:
        """Seconds of every step and the peak of memory, by this process and by those that were there before it."""
        own = {
            k.removeprefix(f"{self.name}: "): v for k, v in self.bars.seconds.items() if k.startswith(f"{self.name}: ")
        }
        return {
            "timings": {**before, **{step: round(seconds, 2) for step, seconds in own.items()}},
            "peak_memory": max(peak, peak_memory()),
        }


def load_model(stage: Stage, path: Path) -> None:
    """Read the stage's parameters and buffers from a safetensors file into its model."""
    stage.model.load_state_dict(safetensors.torch.load_file(path))
