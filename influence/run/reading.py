"""The run on disk, read: open it, verify it. Every field is stated in CONTRACT.md; `draft.py` writes it."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import safetensors
import zarr

from influence.errors import RunError, printable
from influence.run.arrays import WIDEST, open_array, refuse_many_chunks
from influence.run.contents import Contents
from influence.run.files import (
    JOURNAL_FILE,
    MANIFEST_FILE,
    QUERIES_FILE,
    checksum,
    curvature_file,
    draft_name,
    embedding_file,
    examples_file,
    is_of_computation,
    map_file,
    model_file,
    scores_file,
    shares_file,
    spread_method,
    tokens_file,
)
from influence.run.parquet.forms import EXAMPLES, FORMS, QUERIES, Form
from influence.run.parquet.tables import read_table, row_count
from influence.run.plain import ODD, odd_entries, parsed_json, read_plain
from influence.run.records import FORMAT, NAT, ORDER_ONLY, Manifest, StageRecord, manifest_of

if TYPE_CHECKING:
    import torch

UNITLESS = "identity"
"""The method whose scores have no unit in any run."""


LARGEST_MANIFEST = 2**25
"""Bytes of run.json that are read; that of the largest built-in study has some 50,000."""
KEPT_MANIFESTS = 256
"""Manifests that are kept as they were parsed: lists of runs are drawn again and again."""


class Run:
    """A finished run: one finetuned model, its examples, and what each prediction came from.

    Use `Run.open(path)`. Everything is read lazily and nothing is ever written. When a file is read it is compared with
    its sha256 again: what a disk lost since the run was opened is a RunError that names the file.
    """

    def __init__(self, path: Path, manifest: Manifest):
        self.path, self.manifest = path, manifest
        self._contents = Contents(path, manifest.files)
        self._tables: dict[str, pd.DataFrame] = {}

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
        others = {name for name in there if name not in self._contents and name != MANIFEST_FILE}
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
            RunError: no scores are stored for that stage and method.
        """
        stage = stage or self.stages[0]
        methods = self.methods(stage)
        method = method or (methods[0] if methods else "")
        for record in self.manifest.scores:
            if (record.stage, record.method) == (stage, method):
                return self._array(record.file, QUERIES_FILE, examples_file(stage))
        stored = ", ".join(methods) or "none"
        raise RunError(f"Run {self.name} has no scores of stage {stage!r} by method {method!r}; stored: {stored}.")

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
        if self.trainings(stage, method) < 2 or f"{file}/zarr.json" not in self._contents:
            return None
        return self._array(file, QUERIES_FILE, examples_file(stage))

    def examples(self, stage: str) -> pd.DataFrame:
        """One row a training example of `stage`; treat as read-only. Columns: CONTRACT.md."""
        name = self.stage(stage).name
        return self._table(examples_file(name), FORMS["examples"], map_file(name))

    def queries(self) -> pd.DataFrame:
        """One row a test query; treat as read-only. Columns: CONTRACT.md."""
        return self._table(QUERIES_FILE, FORMS["queries"], map_file("queries"))

    def embedding(self) -> tuple[zarr.Array, zarr.Array] | None:
        """What the map is made of: float32 (n_examples, d) and (n_queries, d), lazily read; None without."""
        tables = {"examples": examples_file(self.manifest.map.stage), "queries": QUERIES_FILE}
        names = {table: embedding_file(table) for table in tables}
        if not all(f"{name}/zarr.json" in self._contents for name in names.values()):
            return None
        examples, queries = (self._array(name, tables[table]) for table, name in names.items())
        return examples, queries

    def tokens(self, table: str) -> pd.DataFrame | None:
        """`starts` and `ends` of the tokens of a stage's examples, or of "queries" (with `losses`); None: not known."""
        name = tokens_file(table)
        return self._table(name, FORMS["tokens"]) if name in self._contents else None

    def shares(self, stage: str, method: str, query: int) -> dict[int, np.ndarray]:
        """Scores of the query at row `query` split over tokens, nats: row of the example -> float32 (tokens,).

        Only of the strongest examples (CONTRACT.md); empty if there are none.
        """
        name = shares_file(stage, method)
        if name not in self._contents:
            return {}
        try:
            rows = {QUERIES: self._rows(QUERIES_FILE), EXAMPLES: self._rows(examples_file(stage))}
            with self._contents.opened(name) as file:
                found = read_table(file, FORMS["shares"], rows, [("query", "==", query)])
            pairs = zip(found["example"], found["shares"], strict=True)
            return {int(row): np.asarray(shares, np.float32) for row, shares in pairs}
        except (OSError, ValueError, KeyError) as error:
            raise self._contents.unreadable(name, error) from error

    @property
    def validations(self) -> list[str]:
        """The checks that `upstream validate` has put into the run, in the order of their names."""
        return sorted(name for name in self.manifest.validation if name in FORMS)

    def validation(self, check: str) -> pd.DataFrame | None:
        """What a check found, one row a figure; None if it was not run. Columns: CONTRACT.md."""
        if check not in self.validations:
            return None
        rows = {QUERIES: self._rows(QUERIES_FILE)} | {name: self._rows(examples_file(name)) for name in self.stages}
        return self._table(self.manifest.validation[check], FORMS[check], rows=rows)

    def models(self) -> dict[str, dict[str, torch.Tensor]]:
        """The trained parameters and buffers of every stage: stage -> name -> tensor.

        Raises:
            RunError: the run was imported, so that it has none.
        """
        self._refuse_imported()
        return {stage: self._tensors(model_file(stage)) for stage in self.stages}

    def shapes(self, stage: str) -> dict[str, tuple[int, ...]]:
        """Shapes of a stage's parameters and buffers by name, without reading their values. Raises as `models`."""
        self._refuse_imported()
        name = model_file(self.stage(stage).name)
        try:
            with safetensors.safe_open(self._contents.path(name), framework="np") as kept:
                return {key: tuple(kept.get_slice(key).get_shape()) for key in sorted(kept.keys())}
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise self._contents.unreadable(name, error) from error

    def _refuse_imported(self) -> None:
        if self.manifest.imported:
            raise RunError(no_models(self.name))

    def curvature(self, stage: str, method: str) -> dict[str, torch.Tensor]:
        """What a method found of a stage's curvature, as it takes it up again; empty if none is kept."""
        name = curvature_file(stage, method)
        return self._tensors(name) if name in self._contents else {}

    def _tensors(self, name: str) -> dict[str, torch.Tensor]:
        from safetensors.torch import load_file  # only here: everything else of a run is read without torch

        try:
            return load_file(self._contents.path(name))
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise self._contents.unreadable(name, error) from error

    def _rows(self, name: str) -> int:
        """Rows of a table, without reading them."""
        try:
            with self._contents.opened(name) as file:
                return row_count(file)
        except (OSError, ValueError) as error:
            raise self._contents.unreadable(name, error) from error

    def _array(self, name: str, rows_of: str, columns_of: str = "") -> zarr.Array:
        """An array with a row for each row of one table, and a column for each row of another; "": of any width."""
        try:
            array = open_array(self._contents, name)
        except (OSError, ValueError, RecursionError) as error:
            raise self._contents.unreadable(name, error) from error
        rows, columns = self._rows(rows_of), self._rows(columns_of) if columns_of else min(array.shape[1], WIDEST)
        if array.shape != (rows, columns):
            raise RunError(
                f"{name} of run {self.name} has the shape {array.shape}, expected {(rows, columns)} by its tables. "
                "Compute the run again."
            )
        try:
            refuse_many_chunks(array)
        except ValueError as error:
            raise self._contents.unreadable(name, error) from error
        return array

    def _table(self, name: str, form: Form, places: str = "", rows: Mapping[str, int] | None = None) -> pd.DataFrame:
        """A table, with the columns of its file of places where the run has one."""
        if name not in self._tables:
            table = self._read(name, form, rows or {})
            if places in self._contents:
                found = self._read(places, FORMS["map"], {})
                if len(found) != len(table):
                    raise self._contents.unreadable(places, f"it has {len(found):,} rows for {len(table):,} of {name}")
                table = pd.concat([table.drop(columns=found.columns, errors="ignore"), found], axis=1)
            self._tables[name] = table
        return self._tables[name]

    def _read(self, name: str, form: Form, rows: Mapping[str, int]) -> pd.DataFrame:
        try:
            with self._contents.opened(name) as file:
                return read_table(file, form, rows)
        except (OSError, ValueError) as error:
            raise self._contents.unreadable(name, error) from error


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


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the run in `folder`, verified. What is there unchanged is not parsed again; treat as read-only.

    Raises:
        RunError: missing, unfinished, not JSON, changed, from another format, or without a field that it must have.
    """
    found = _manifest(folder, _manifest_text(folder))
    if isinstance(found, RunError):
        raise RunError(*found.args)
    return found


@functools.lru_cache(KEPT_MANIFESTS)
def _manifest(folder: Path, text: bytes) -> Manifest | RunError:
    try:
        return manifest_of(_told(folder, text), folder)
    except RunError as error:
        return RunError(*error.args)  # one that does not hold what led to it


def read_json(folder: Path) -> dict[str, Any]:
    """run.json of `folder` as it stands, with its format verified.

    Raises:
        RunError: missing, unfinished, not JSON, or from another format.
    """
    return _told(folder, _manifest_text(folder))


def _manifest_text(folder: Path) -> bytes:
    if not os.path.isdir(folder):  # as Path.is_dir, but a name too long for the file system is only a missing folder
        if os.path.isdir(folder.with_name(draft_name(folder.name))):
            raise RunError(f"Run {folder} is not finished. Run the same `upstream precompute` command to resume it.")
        raise RunError(f"There is no run at {folder}. `upstream runs` lists what is there; `upstream demo` makes one.")
    try:
        return read_plain(folder / MANIFEST_FILE, LARGEST_MANIFEST)
    except FileNotFoundError:
        if (folder / JOURNAL_FILE).is_file():
            raise RunError(
                f"{folder} is not finished. Run the same `upstream precompute` command to resume it."
            ) from None
        raise RunError(
            f"{folder} is not a run: it holds no run.json. Point to a folder that `upstream runs` lists."
        ) from None
    except OSError as error:
        raise _unreadable(folder, error) from error


def _told(folder: Path, text: bytes) -> dict[str, Any]:
    try:
        told = parsed_json(text)
    except ValueError as error:
        raise _unreadable(folder, error) from error
    if not isinstance(told, dict) or type(told.get("format")) is not int:
        raise RunError(f"run.json in {folder} names no format version. Delete the folder and compute it again.")
    if told["format"] != FORMAT:
        raise RunError(
            f"Run {folder} has format {told['format']}; this version of upstream reads format {FORMAT}. "
            + ("Update upstream." if told["format"] > FORMAT else "Compute the run again.")
        )
    return told


def _unreadable(folder: Path, error: Exception) -> RunError:
    return RunError(f"run.json in {folder} cannot be read ({error}). Delete the folder and compute it again.")


def read_curvature(folder: Path, stage: str, method: str) -> dict[str, Any]:
    """What a method found of a stage's curvature, of a run that is not finished: `{"state": ...}` as it takes it.

    Raises:
        RunError: the file is damaged.
    """
    from safetensors.torch import load_file  # only here, as above

    file = folder / curvature_file(stage, method)
    try:
        return {"state": load_file(file)} if file.is_file() else {}
    except (OSError, safetensors.SafetensorError) as error:
        raise RunError(f"{file} cannot be read: {error}. Delete the run and compute it again.") from error
