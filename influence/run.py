"""The run on disk: write it atomically, open it, verify it. Every field is stated in CONTRACT.md."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd
import safetensors.torch
import torch
import zarr

from influence.errors import RunError

FORMAT = 1
SIGN = (
    "score[t, z] is the predicted change of query t's loss, in nats, if training example z had been left out. "
    "Positive = leaving it out hurts = helpful. Negative = harmful."
)
CHUNK = (64, 1024)
"""Rows (queries) and columns (examples) of a score chunk: 256 kB, so that a row and a column are both cheap."""
ARRAY_CHUNK = 2**22
"""Bytes of a chunk of other arrays, which are read whole."""
SHARE_ROWS = 1000
"""Rows that are read together of a table of shares."""

_REQUIRED = {"name": str, "stages": list, "scores": list, "default_method": str, "files": dict, "settings": dict}
"""What every run.json states, with its kind."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Run:
    """A finished run: one finetuned model, its examples, and what each prediction came from.

    Use `Run.open(path)`. Everything is read lazily and nothing is ever written.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]):
        self.path, self.manifest = path, manifest
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
        found = []
        for name, expected in self.manifest["files"].items():
            if Path(name).is_absolute() or ".." in Path(name).parts:
                found.append(f"{name} lies outside the run")
                continue
            try:
                actual = _checksum(self.path / name)
            except FileNotFoundError:
                found.append(f"{name} is missing")
            except OSError as error:
                found.append(f"{name} cannot be read ({error.strerror})")
            else:
                if actual != expected:
                    found.append(f"{name} has other contents than when it was written")
        return found

    @property
    def name(self) -> str:
        return self.manifest["name"]

    @property
    def stages(self) -> list[str]:
        """The stages' names, first (pretraining) to last."""
        return [stage["name"] for stage in self.manifest["stages"]]

    def stage(self, name: str) -> dict[str, Any]:
        """The manifest's record of one stage."""
        for record in self.manifest["stages"]:
            if record["name"] == name:
                return record
        raise RunError(f"Run {self.name} has no stage {name!r}; it has {', '.join(self.stages)}.")

    def methods(self, stage: str) -> list[str]:
        """The methods whose scores of `stage` are stored, the default one first."""
        self.stage(stage)
        found = [record["method"] for record in self.manifest["scores"] if record["stage"] == stage]
        return sorted(found, key=lambda method: method != self.manifest["default_method"])

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
        for record in self.manifest["scores"]:
            if (record["stage"], record["method"]) == (stage, method):
                return self._array(record["file"])
        stored = ", ".join(methods) or "none"
        raise RunError(f"Run {self.name} has no scores of stage {stage!r} by method {method!r}; stored: {stored}.")

    def examples(self, stage: str) -> pd.DataFrame:
        """One row a training example of `stage`; treat as read-only. Columns: CONTRACT.md."""
        return self._table(f"examples/{self.stage(stage)['name']}.parquet")

    def queries(self) -> pd.DataFrame:
        """One row a test query; treat as read-only. Columns: CONTRACT.md."""
        return self._table("queries.parquet")

    def embedding(self) -> tuple[zarr.Array, zarr.Array] | None:
        """What the map is made of: float32 (n_examples, d) and (n_queries, d), lazily read; None without."""
        names = [f"embedding/{name}.zarr" for name in ("examples", "queries")]
        if f"{names[0]}/zarr.json" not in self.manifest["files"]:
            return None
        examples, queries = (self._array(name) for name in names)
        return examples, queries

    def tokens(self, table: str) -> pd.DataFrame | None:
        """`starts` and `ends` of the tokens of a stage's examples, or of "queries"; None if they are not known."""
        name = f"tokens/{table}.parquet"
        return self._table(name) if name in self.manifest["files"] else None

    def shares(self, stage: str, method: str, query: int) -> dict[int, np.ndarray]:
        """Scores of the query at row `query` split over tokens, nats: row of the example -> float32 (tokens,).

        Only of the strongest examples (CONTRACT.md); empty if there are none.
        """
        name = f"shares/{stage}-{method}.parquet"
        if name not in self.manifest["files"]:
            return {}
        try:
            found = pd.read_parquet(self.path / name, filters=[("query", "==", query)])
            pairs = zip(found["example"], found["shares"], strict=True)
            return {int(row): np.asarray(shares, np.float32) for row, shares in pairs}
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"{name} of run {self.name} cannot be read: {error}") from error

    def models(self) -> dict[str, dict[str, torch.Tensor]]:
        """The trained parameters and buffers of every stage: stage -> name -> tensor."""
        return {stage: self._model(f"stages/{stage}.safetensors") for stage in self.stages}

    def _model(self, name: str) -> dict[str, torch.Tensor]:
        try:
            return safetensors.torch.load_file(self.path / name)
        except (OSError, safetensors.SafetensorError) as error:
            raise RunError(f"{name} of run {self.name} cannot be read: {error}") from error

    def _array(self, name: str) -> zarr.Array:
        try:
            return zarr.open_array(self.path / name, mode="r")
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"{name} of run {self.name} cannot be read: {error}") from error

    def _table(self, name: str) -> pd.DataFrame:
        try:
            if name not in self._tables:
                self._tables[name] = pd.read_parquet(self.path / name)
            return self._tables[name]
        except (OSError, ValueError) as error:
            raise RunError(f"{name} of run {self.name} cannot be read: {error}") from error


def runs_in(root: str | os.PathLike[str]) -> list[tuple[Path, Run | RunError]]:
    """Every run folder in `root` by name, with the run (checksums not yet verified) or what is wrong with it."""
    found: list[tuple[Path, Run | RunError]] = []
    root = Path(root)
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        try:
            found.append((folder, Run(folder, read_manifest(folder))))
        except RunError as error:
            found.append((folder, error))
    return found


def read_manifest(folder: Path) -> dict[str, Any]:
    """run.json of `folder`, with its format and own checksum verified.

    Raises:
        RunError: missing, unfinished, not JSON, changed, or from another format.
    """
    if not os.path.isdir(folder):  # as Path.is_dir, but a name too long for the file system is only a missing folder
        if os.path.isdir(folder.with_name(_draft_name(folder.name))):
            raise RunError(f"Run {folder} is not finished. Run the same `upstream precompute` command to resume it.")
        raise RunError(f"There is no run at {folder}. `upstream runs` lists what is there; `upstream demo` makes one.")
    try:
        manifest = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        if (folder / "journal.json").is_file():
            raise RunError(
                f"{folder} is not finished. Run the same `upstream precompute` command to resume it."
            ) from None
        raise RunError(
            f"{folder} is not a run: it holds no run.json. Point to a folder that `upstream runs` lists."
        ) from None
    except (OSError, ValueError) as error:
        raise RunError(
            f"run.json in {folder} cannot be read ({error}). Delete the folder and compute it again."
        ) from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise RunError(f"run.json in {folder} names no format version. Delete the folder and compute it again.")
    if manifest["format"] != FORMAT:
        raise RunError(
            f"Run {folder} has format {manifest['format']}; this version of upstream reads format {FORMAT}. "
            + ("Update upstream." if manifest["format"] > FORMAT else "Compute the run again.")
        )
    wrong = [key for key, kind in _REQUIRED.items() if not isinstance(manifest.get(key), kind)]
    wrong += [f for f in _written_files(manifest) if f not in manifest["files"]] if not wrong else []
    if wrong:
        raise RunError(f"run.json in {folder} lacks {', '.join(wrong)}. Delete the folder and compute it again.")
    if manifest.get("checksum") != _manifest_checksum(manifest):
        raise RunError(
            f"run.json in {folder} was changed after it was written. Delete the folder and compute it again."
        )
    return manifest


class Draft:
    """A run under way, in a hidden folder beside its final place; a killed precompute resumes from it.

    A file counts only once `mark` has recorded the step that wrote it, so a half-written file is never taken
    for a finished one. `finish` renames the folder to its final name; what later steps need but the run does not
    is kept under `work/` until then.
    """

    def __init__(self, root: str | os.PathLike[str], name: str, settings: Mapping[str, Any]):
        """Resume the draft of `name`, or begin it.

        Raises:
            RunError: `name` is no file name, `root` cannot be written, or the draft was begun with other `settings`.
        """
        if not _NAME.fullmatch(name):
            raise RunError(f"{name!r} cannot be a run's name: use letters, digits, '.', '_' and '-', at most 100.")
        self.final = Path(root) / name
        self.folder = self.final.with_name(_draft_name(name))
        self.settings = json.loads(json.dumps(settings))
        self.steps: dict[str, Any] = {}
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with self.locked():  # beginning anew deletes what is there, which must not be another process's work
                self._resume()
        except OSError as error:
            raise RunError(
                f"Cannot write runs to {root}: {error.strerror}. Choose another folder with --runs."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"The unfinished run {self.folder} is damaged ({error}). Delete it and start again."
            ) from error

    def _resume(self) -> None:
        journal = self.folder / "journal.json"
        if journal.is_file():
            begun = json.loads(journal.read_text(encoding="utf-8"))
            if begun["settings"] != self.settings and begun["steps"]:
                other = next(
                    k
                    for k in {**begun["settings"], **self.settings}
                    if begun["settings"].get(k) != self.settings.get(k)
                )
                raise RunError(
                    f"An unfinished run {self.final} was begun with other settings: {other} is "
                    f"{begun['settings'].get(other)!r}, asked for {self.settings.get(other)!r}. Finish it with its own "
                    f"command, choose another --name, or delete {self.folder}."
                )
            self.steps = dict(begun["steps"])
        if not self.steps:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the draft for this process; a second writer is refused instead of mixed in."""
        lock = filelock.FileLock(self.folder.with_suffix(".lock"), timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise RunError(f"Another process is computing run {self.final}. Wait for it, or choose --name.") from None
        try:
            yield
        finally:
            # While it is held: once released, the file may be another process's lock.
            with contextlib.suppress(OSError):
                Path(lock.lock_file).unlink()
            lock.release()

    def mark(self, step: str, record: Any = None) -> None:
        """Record that `step` is finished, with what later steps or the manifest need from it (JSON)."""
        self.steps[step] = record
        self._write_json("journal.json", {"settings": self.settings, "steps": self.steps})

    def path(self, name: str) -> Path:
        """Where file `name` of the run is written; its folder exists."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        table.to_parquet(self.path(f"{name}.parquet"), index=False)

    def write_array(self, name: str, values: np.ndarray) -> None:
        """Written whole, in chunks of rows."""
        rows = max(1, ARRAY_CHUNK // max(1, values[:1].nbytes))
        array = zarr.create_array(
            self.path(f"{name}.zarr"), shape=values.shape, chunks=(min(rows, len(values)), *values.shape[1:]),
            dtype=values.dtype, compressors=None, overwrite=True, fill_value=float("nan"),
            config={"write_empty_chunks": True},
        )  # fmt: skip
        array[:] = values

    def write_shares(self, stage: str, method: str, table: pd.DataFrame) -> None:
        """`query`, `example`, `shares`, sorted by query; in groups of rows so that one query's are read alone."""
        table.to_parquet(self.path(f"shares/{stage}-{method}.parquet"), index=False, row_group_size=SHARE_ROWS)

    def write_model(self, stage: str, tensors: Mapping[str, torch.Tensor]) -> None:
        # Cloned, since the format has no tied weights: each name gets its own copy.
        copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        safetensors.torch.save_file(copies, self.path(f"stages/{stage}.safetensors"))

    def create_scores(self, stage: str, method: str, shape: tuple[int, int]) -> tuple[str, zarr.Array]:
        """A fresh score array (file name, array) to be filled block by block."""
        name = f"scores/{stage}-{method}.zarr"
        chunks = (min(CHUNK[0], shape[0]), min(CHUNK[1], shape[1]))
        # Float noise does not compress: stored raw, a row is read without decoding.
        return name, zarr.create_array(
            self.path(name),
            shape=shape,
            chunks=chunks,
            dtype="float32",
            compressors=None,
            overwrite=True,
            # A chunk that goes missing reads as NaN, which readers refuse, and never as a score of zero.
            fill_value=float("nan"),
            config={"write_empty_chunks": True},
        )

    def finish(self, manifest: Mapping[str, Any]) -> Run:
        """Write run.json with every file's checksum, then give the folder its final name."""
        passing = re.compile(r"run\.json|journal\.json|.*\.tmp|work/.*")
        files = sorted(p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file())
        complete = {
            "format": FORMAT,
            "name": self.final.name,
            "sign": SIGN,
            "unit": "nat",
            "settings": self.settings,
            **manifest,
            "files": {name: _checksum(self.folder / name) for name in files if not passing.fullmatch(name)},
        }
        complete = json.loads(json.dumps(complete))
        complete["checksum"] = _manifest_checksum(complete)
        self._write_json("run.json", complete)
        try:
            self.folder.rename(self.final)
        except OSError as error:
            raise RunError(f"The finished run cannot be moved to {self.final}: {error.strerror}.") from error
        shutil.rmtree(self.final / "work", ignore_errors=True)
        (self.final / "journal.json").unlink(missing_ok=True)
        return Run(self.final, complete)

    def _write_json(self, name: str, content: Any) -> None:
        temporary = self.path(f"{name}.tmp")
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
        temporary.replace(self.folder / name)


def _written_files(manifest: Mapping[str, Any]) -> list[str]:
    """Files that readers will ask for by the manifest's own word."""
    stages = [stage["name"] for stage in manifest["stages"]]
    tables = ["queries.parquet", *(f"examples/{stage}.parquet" for stage in stages)]
    return [
        *tables,
        *(f"stages/{stage}.safetensors" for stage in stages),
        *(f"{r['file']}/zarr.json" for r in manifest["scores"]),
    ]


def _draft_name(name: str) -> str:
    return f".{name}.unfinished"


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest_checksum(manifest: Mapping[str, Any]) -> str:
    content = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
