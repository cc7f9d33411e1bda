"""Names of a run's files, their checksums, and how they are written whole."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from influence.errors import RunError
from influence.run.plain import is_half_written, lock_of, plain_file, replacement, writing

PROGRESS = "UPSTREAM_PROGRESS"
"""Environment variable: the file that says how far a process is that computes a run, for whoever started it."""

MAP, SHARES = "map", "shares"
"""Parts of a run that may be added when it is finished; the scores of a further method are one too, by its name."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Of a run, a method or a check."""
STAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}")
DIGEST = re.compile(r"[0-9a-f]{64}")
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}"
COMPUTED_FILE = re.compile(
    rf"queries\.parquet|tokenizer\.json|(stages|curvature)/{_PART}\.safetensors"
    rf"|(examples|map|tokens|votes|shares|sample|groups|strongest|totals)/{_PART}\.parquet"
    rf"|(scores|embedding)/{_PART}\.zarr/(zarr\.json|c(/[0-9]+)*)"
)
"""Relative path of a file that a run is computed with, in the forms that CONTRACT.md gives."""
CHECK_FILE = re.compile(rf"validation/{NAME.pattern}-[0-9a-f]{{12}}\.parquet")
SCORES_FILE = re.compile(rf"scores/{_PART}\.zarr")
LISTED_FILE = re.compile(rf"(?!.*\.\.){_PART}(/{_PART}){{0,5}}")
"""Relative path of any file that run.json may list: plain names, none of them hidden. Readers open only known ones."""


def refuse_name(name: str, whose: str) -> None:
    """Raise RunError unless a file can have this name, "a run's" or "a check's"."""
    if not NAME.fullmatch(name):
        raise RunError(f"{name!r} cannot be {whose} name: use letters, digits, '.', '_' and '-', at most 100.")


@contextlib.contextmanager
def locked(run: Path, busy: str = "") -> Iterator[None]:
    """Hold the run at `run`, finished or not, for this process; a second writer is refused.

    Args:
        run: its folder.
        busy: what a second writer is told; default that the run is being computed.

    Raises:
        RunError: another process holds it, or the lock cannot be written.
    """
    path = lock_file(run)
    try:
        lock = lock_of(path)
    except OSError as error:
        raise RunError(f"Run {run} cannot be locked by {path}: {error.strerror}.") from error
    try:
        with writing(path):
            lock.acquire()
    except filelock.Timeout:
        raise RunError(busy or f"Another process is computing run {run}. Wait for it, or choose --name.") from None
    try:
        yield
    finally:
        # While it is held: once released, the file may be another process's lock.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()


def lock_file(run: Path) -> Path:
    """What exists while a process writes the run at `run`."""
    return run.with_name(f".{run.name}.lock")


def is_held(run: Path) -> bool:
    """Whether a process writes the run at `run` just now. A killed process leaves a lock that nobody holds."""
    path = lock_file(run)
    try:
        if path.is_file():
            with lock_of(path):
                pass
    except filelock.Timeout:
        return True
    except OSError:  # what is no lock holds nobody back
        pass
    return False


def write_json(path: Path, content: Any) -> None:
    with replacement(path) as new:
        new.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")


MANIFEST_FILE = "run.json"
JOURNAL_FILE = "journal.jsonl"
"""The steps that are finished, of a run of which something is still to be computed."""
QUERIES_FILE = "queries.parquet"


def model_file(stage: str) -> str:
    """Parameters and buffers of a stage's model."""
    return f"stages/{stage}.safetensors"


def examples_file(stage: str) -> str:
    """One row a training example of a stage."""
    return f"examples/{stage}.parquet"


def map_file(table: str) -> str:
    """Places on the map of a stage's examples, or of "queries"."""
    return f"map/{table}.parquet"


def embedding_file(table: str) -> str:
    """The vectors that the map is made of: of "examples" or "queries"."""
    return f"embedding/{table}.zarr"


def tokens_file(table: str) -> str:
    """Where each token lies in the texts of a stage, or of "queries"."""
    return f"tokens/{table}.parquet"


def votes_file(stage: str) -> str:
    """The votes of the rules that made a stage's labels."""
    return f"votes/{stage}.parquet"


def shares_file(stage: str, method: str) -> str:
    """Scores of a stage's examples, split over tokens."""
    return f"shares/{stage}-{method}.parquet"


def sample_file(stage: str) -> str:
    """The examples of a stage all scores of which are kept, where others are not."""
    return f"sample/{stage}.parquet"


def groups_file(stage: str) -> str:
    """The groups of a stage's examples whose scores are summed: by label, by source."""
    return f"groups/{stage}.parquet"


def strongest_file(stage: str, method: str) -> str:
    """Each query's strongest examples of a stage, where not all scores are kept."""
    return f"strongest/{stage}-{method}.parquet"


def totals_file(stage: str, method: str) -> str:
    """Each query's histogram and sums over all examples of a stage, where not all scores are kept."""
    return f"totals/{stage}-{method}.parquet"


def check_file(check: str, digest: str) -> str:
    """What a check found; `digest` is of its contents."""
    return f"validation/{check}-{digest}.parquet"


def is_check_file(file: str, check: str) -> bool:
    """Whether `file` may be what `check_file` returned for this check."""
    return re.fullmatch(rf"validation/{re.escape(check)}-[0-9a-f]{{12}}\.parquet", file) is not None


def retrainings_folder(run: Path) -> Path:
    """The hidden folder beside a run that caches its retrainings."""
    return run.with_name(f".{run.name}.retrainings")


def retrainings_locked(run: Path) -> contextlib.AbstractContextManager[None]:
    """Hold a run's retrainings for this process.

    Raises:
        RunError: another process holds them.
    """
    busy = f"Another process trains run {run.name} again. Wait for it."
    return locked(run.with_name(f"{run.name}.retrainings"), busy)


def curvature_file(stage: str, method: str) -> str:
    """Where a run keeps what a method found of a stage's curvature."""
    return f"curvature/{stage}-{method}.safetensors"


def belongs_to(file: str, parts: Iterable[str]) -> bool:
    """Whether a file of a run, by its relative path, is one of these parts."""
    patterns = {MAP: ("map/*", "embedding/*"), SHARES: ("shares/*",)}
    return any(fnmatch.fnmatchcase(file, pattern) for part in parts for pattern in patterns.get(part, _patterns(part)))


def _patterns(method: str) -> tuple[str, ...]:
    scores, slices = (f"scores/*-{name}.zarr/*" for name in (method, slices_method(method)))
    tables = (f"{folder}/*-{method}.parquet" for folder in ("strongest", "totals"))
    return scores, slices, *tables, f"curvature/*-{method}.safetensors"


def is_of_computation(file: str, pending: Iterable[str]) -> bool:
    """Whether the computation of the pending parts of a run may keep a file there, by its relative path."""
    return file == JOURNAL_FILE or file.startswith("work/") or is_half_written(file) or belongs_to(file, pending)


def draft_name(name: str) -> str:
    """The folder of a run that is not finished."""
    return f".{name}.unfinished"


def checksum(path: Path) -> str:
    """sha256 of a plain file.

    Raises:
        OSError: it is missing, or a link, a pipe or a device.
    """
    with open(path, "rb", opener=plain_file) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_checksum(manifest: Mapping[str, Any]) -> str:
    """sha256 of the manifest without its own checksum."""
    content = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def scores_file(stage: str, method: str) -> str:
    """Where a run keeps an array."""
    return f"scores/{stage}-{method}.zarr"


def mean_method(method: str) -> str:
    """In the name of the array of means over trainings."""
    return f"{method}-mean"


def slices_method(method: str) -> str:
    """In the name of the array of every example's sums over slices of the queries."""
    return f"{method}-slices"


def spread_method(method: str) -> str:
    """In the name of the array of standard deviations over trainings."""
    return f"{method}-spread"
