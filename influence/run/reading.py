"""The run on disk, read: open it, verify it. Every field is stated in CONTRACT.md; `draft.py` writes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import zarr

from influence.errors import RunError, printable
from influence.run.files import (
    MANIFEST_FILE,
    QUERIES_FILE,
    checksum,
    curvature_file,
    embedding_file,
    examples_file,
    is_of_computation,
    map_file,
    model_file,
    scores_file,
    shares_file,
    spread_method,
    tokens_file,
    votes_file,
)
from influence.run.kept.kept import Kept
from influence.run.manifest import read_manifest
from influence.run.parquet.forms import EXAMPLES, FORMS, QUERIES
from influence.run.parquet.votes import votes_problem
from influence.run.parts import Parts
from influence.run.plain import ODD, odd_entries
from influence.run.records import NAT, ORDER_ONLY, Manifest, StageRecord

if TYPE_CHECKING:
    import torch

UNITLESS = "identity"
"""The method whose scores have no unit in any run."""


class Run:
    """A finished run: one finetuned model, its examples, and what each prediction came from.

    Use `Run.open(path)`. Everything is read lazily and nothing is ever written. When a file is read it is compared with
    its sha256 again: what a disk lost since the run was opened is a RunError that names the file.
    """

    def __init__(self, path: Path, manifest: Manifest):
        self.path, self.manifest = path, manifest
        self._parts = Parts(path, manifest.files)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """Open the run in folder `path`, verifying its format and the checksum of every file.

        Raises:
            RunError: the folder is missing, unfinished, from a newer format, or holds a damaged file.
        """
        folder = Path(path)
        run = cls(folder, read_manifest(folder))
        problems = run.problems()
        if problems:
            raise RunError(
                f"Run {folder} is damaged: {'; '.join(problems[:3])}{' ...' if len(problems) > 3 else ''}. "
                "Delete the folder and compute it again with `upstream precompute`."
            )
        return run

    def problems(self) -> list[str]:
        """What is wrong with the files, a sentence each; empty if every checksum holds."""
        try:
            odd = odd_entries(self.path)
        except OSError as error:
            return [f"it cannot be read ({error.strerror})"]
        found = [f"{name} is {ODD}" for name in odd]
        for name, expected in self.manifest.files.items() if not odd else ():
            try:
                actual = checksum(self.path / name)
            except FileNotFoundError:
                found.append(f"{name} is missing")
            except OSError as error:
                found.append(f"{name} cannot be read ({error.strerror})")
            else:
                if actual != expected:
                    found.append(f"{name} has other contents than when it was written")
        return found

    def unlisted(self) -> list[str]:
        """Relative names of files in the folder that run.json does not list: no part of the run, and never read.

        What a computation that is to go on keeps there is left out.
        """
        there = (path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if not path.is_dir())
        others = {name for name in there if name not in self._parts and name != MANIFEST_FILE}
        return sorted(name for name in others if not (self.pending and is_of_computation(name, self.pending)))

    @property
    def pending(self) -> list[str]:
        """Parts that are still to be computed: `map`, `shares` or a method, whose scores are; empty: none."""
        return list(self.manifest.pending)

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def stages(self) -> list[str]:
        """The stages' names, first (pretraining) to last."""
        return [stage.name for stage in self.manifest.stages]

    @property
    def classes(self) -> tuple[str, ...]:
        """The last stage's classes, which queries are told apart by; empty if it is no classifier."""
        return self.manifest.stages[-1].classes if self.manifest.stages else ()

    def stage(self, name: str) -> StageRecord:
        """The manifest's record of one stage.

        Raises:
            RunError: the run has no stage of that name.
        """
        for record in self.manifest.stages:
            if record.name == name:
                return record
        raise RunError(f"Run {self.name} has no stage {name!r}; it has {', '.join(self.stages)}.")

    def methods(self, stage: str) -> list[str]:
        """The methods whose scores of `stage` are stored, the default one first."""
        self.stage(stage)
        found = [record.method for record in self.manifest.scores if record.stage == stage]
        return sorted(found, key=lambda method: method != self.manifest.default_method)

    def unit(self, method: str, stage: str | None = None) -> str:
        """The unit of a method's scores of a stage (default: of all): `NAT`, or `ORDER_ONLY`."""
        return ORDER_ONLY if self.order_only(method, stage) else NAT

    def order_only(self, method: str, stage: str | None = None) -> tuple[str, ...]:
        """Why only the order of a method's scores means something, a sentence each; empty: they are in nats."""
        if method == UNITLESS:
            return (f"Method {UNITLESS!r} takes no account of the curvature, so its scores have no unit.",)
        records = [r for r in self.manifest.scores if r.method == method and stage in (None, r.stage)]
        lost = [record.report for record in records if record.report.get("unit") == ORDER_ONLY]
        told = dict.fromkeys(str(sentence) for report in lost for sentence in report.get("order_only") or ())
        return tuple(told) or (self.manifest.warnings or ("The run does not say why.",) if lost else ())

    def scores(self, stage: str | None = None, method: str | None = None) -> zarr.Array:
        """Scores of a stage's training examples, lazily read: `scores[i]` is a row, `scores[:, j]` a column.

        Args:
            stage: the stage's name; default the first (pretraining).
            method: default the run's default method.

        Returns:
            float32 (n_queries, n_examples), rows as `queries()`, columns as `examples(stage)`, in nats;
            positive = helpful.

        Raises:
            RunError: no scores are stored for that stage and method, or not all (`kept` has what is).
        """
        stage = stage or self.stages[0]
        methods = self.methods(stage)
        method = method or (methods[0] if methods else "")
        for record in self.manifest.scores:
            if (record.stage, record.method) == (stage, method):
                if record.strongest:
                    raise RunError(
                        f"Run {self.name} keeps of stage {stage!r} by method {method!r} the {record.strongest:,} "
                        "strongest scores of either sign and query, not all: `Run.kept` has them, and what is summed "
                        "over all. For all, compute it again with --keep all under another --name."
                    )
                return self._parts.array(record.file, QUERIES_FILE, examples_file(stage))
        stored = ", ".join(methods) or "none"
        raise RunError(f"Run {self.name} has no scores of stage {stage!r} by method {method!r}; stored: {stored}.")

    def kept(self, stage: str, method: str) -> Kept | None:
        """What is kept of a stage's scores by a method where that is not all: the strongest; None: all are."""
        for record in self.manifest.scores:
            if (record.stage, record.method) == (stage, method) and record.strongest:
                return Kept(self._parts, record)
        return None

    def trainings(self, stage: str, method: str) -> int:
        """Over how many trainings from other seeds the scores of a stage by a method are means; 1: of one."""
        told = (record.report for record in self.manifest.scores if (record.stage, record.method) == (stage, method))
        return next((int(report.get("trainings", 1)) for report in told), 1)

    def spread(self, stage: str, method: str) -> zarr.Array | None:
        """Standard deviation over trainings of each score, float32 (n_queries, n_examples), lazily read; None of one.

        Raises:
            RunError: it cannot be read.
        """
        file = scores_file(stage, spread_method(method))
        if self.trainings(stage, method) < 2 or f"{file}/zarr.json" not in self._parts:
            return None
        return self._parts.array(file, QUERIES_FILE, examples_file(stage))

    def examples(self, stage: str) -> pd.DataFrame:
        """One row a training example of `stage`; treat as read-only. Columns: CONTRACT.md.

        Pictures and texts of a large table are read as they are looked at, a group of rows at a time; a RunError that
        names the file may then be raised by whoever looks.
        """
        name = self.stage(stage).name
        return self._parts.table(examples_file(name), FORMS["examples"], map_file(name), by_groups=True)

    def queries(self) -> pd.DataFrame:
        """One row a test query; treat as read-only. Columns: CONTRACT.md."""
        return self._parts.table(QUERIES_FILE, FORMS["queries"], map_file("queries"))

    def embedding(self) -> tuple[zarr.Array, zarr.Array] | None:
        """What the map is made of: float32 (n_examples, d) and (n_queries, d), lazily read; None without."""
        tables = {"examples": examples_file(self.manifest.map.stage), "queries": QUERIES_FILE}
        names = {table: embedding_file(table) for table in tables}
        if not all(f"{name}/zarr.json" in self._parts for name in names.values()):
            return None
        examples, queries = (self._parts.array(name, tables[table]) for table, name in names.items())
        return examples, queries

    def tokens(self, table: str) -> pd.DataFrame | None:
        """`starts` and `ends` of the tokens of a stage's examples, or of "queries" (with `losses`); None: not known."""
        name = tokens_file(table)
        return self._parts.table(name, FORMS["tokens"]) if name in self._parts else None

    def has_votes(self, stage: str) -> bool:
        """Whether a stage's labels come from votes of rules."""
        return votes_file(stage) in self._parts

    def votes(self, stage: str) -> pd.DataFrame | None:
        """The votes of the rules that made a stage's labels, one a row: `example` (its row), `rule`, `vote` (a class).

        None: its labels come from no rules.

        Raises:
            RunError: a vote is for no class of the stage, a rule votes twice on an example or has no name, or an
                example has no vote.
        """
        name, record = votes_file(stage), self.stage(stage)
        if not self.has_votes(stage):
            return None
        count = self._parts.rows(examples_file(stage))
        table = self._parts.table(name, FORMS["votes"], rows={EXAMPLES: count})
        if problem := votes_problem(table, record.classes, count):
            raise self._parts.unreadable(name, problem)
        return table

    def shares(self, stage: str, method: str, query: int) -> dict[int, np.ndarray]:
        """Scores of the query at row `query` split over tokens, nats: row of the example -> float32 (tokens,).

        Only of the strongest examples (CONTRACT.md); empty if there are none.
        """
        name = shares_file(stage, method)
        if name not in self._parts:
            return {}
        rows = {QUERIES: self._parts.rows(QUERIES_FILE), EXAMPLES: self._parts.rows(examples_file(stage))}
        found = self._parts.read(name, FORMS["shares"], rows, [("query", "==", query)])
        pairs = zip(found["example"], found["shares"], strict=True)
        return {int(row): np.asarray(shares, np.float32) for row, shares in pairs}

    @property
    def validations(self) -> list[str]:
        """The checks that `upstream validate` has put into the run, in the order of their names."""
        return sorted(name for name in self.manifest.validation if name in FORMS)

    def validation(self, check: str) -> pd.DataFrame | None:
        """What a check found, one row a figure; None if it was not run. Columns: CONTRACT.md."""
        if check not in self.validations:
            return None
        rows = {name: self._parts.rows(examples_file(name)) for name in self.stages}
        rows[QUERIES] = self._parts.rows(QUERIES_FILE)
        return self._parts.table(self.manifest.validation[check], FORMS[check], rows=rows)

    def models(self) -> dict[str, dict[str, torch.Tensor]]:
        """The trained parameters and buffers of every stage: stage -> name -> tensor.

        Raises:
            RunError: the run was imported, so that it has none.
        """
        self._refuse_imported()
        return {stage: self._parts.tensors(model_file(stage)) for stage in self.stages}

    def shapes(self, stage: str) -> dict[str, tuple[int, ...]]:
        """Shapes of a stage's parameters and buffers by name, without reading their values. Raises as `models`."""
        self._refuse_imported()
        return self._parts.shapes(model_file(self.stage(stage).name))

    def _refuse_imported(self) -> None:
        if self.manifest.imported:
            raise RunError(no_models(self.name))

    def curvature(self, stage: str, method: str) -> dict[str, torch.Tensor]:
        """What a method found of a stage's curvature, as it takes it up again; empty if none is kept."""
        name = curvature_file(stage, method)
        return self._parts.tensors(name) if name in self._parts else {}


def no_models(name: str) -> str:
    """Why nothing new can be computed of a run that was imported."""
    return (
        f"Run {name} was imported from another tool's scores: it has no models, so that nothing new can be asked of "
        "it, and nothing trained again."
    )


def runs_in(root: str | os.PathLike[str]) -> list[tuple[Path, Run | RunError]]:
    """Every run folder in `root` by name, with the run (checksums not yet verified) or what is wrong with it."""
    found: list[tuple[Path, Run | RunError]] = []
    root = Path(root)
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        try:
            if printable(folder) != str(folder):
                raise RunError(f"The name of folder {printable(folder)} cannot be shown. Give it another one.")
            found.append((folder, Run(folder, read_manifest(folder))))
        except RunError as error:
            found.append((folder, error))
    return found
