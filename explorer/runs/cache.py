"""Runs as the app sees them: opened once, shared by all visitors, read-only; one replaced on disk is noticed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st
import zarr

from influence.errors import RunError
from influence.run.reading import Run, runs_in


def open_run(folder: Path) -> Run:
    """The verified run in `folder`.

    Raises:
        RunError: it is missing, unfinished, from another format, or damaged.
    """
    seen = fingerprint(folder)
    try:
        return _opened(str(folder), seen)
    except RunError:
        now = fingerprint(folder)
        if now == seen:
            raise
        # A check was put into the run while its files were read: what is there now is looked at once more.
        return _opened(str(folder), now)


def fingerprint(folder: Path) -> int:
    """Changes when any file of the run does: names, sizes and times, without reading the files."""
    seen = []
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            try:
                stat = os.stat(path)
            except OSError:
                continue
            seen.append((path, stat.st_size, stat.st_mtime_ns))
    return hash(tuple(sorted(seen)))


@st.cache_resource(max_entries=8, show_spinner="Checking the run …")
def _opened(folder: str, fingerprint: int) -> Run:  # the fingerprint is part of the cache's key
    run = Run.open(folder)
    check_tables(run)
    return run


def check_tables(run: Run) -> None:
    """Refuse a run whose tables lack what every panel needs, or do not fit its scores.

    Raises:
        RunError: naming the table and what it lacks.
    """
    tables = [("queries.parquet", run.queries(), True)]
    tables += [(f"examples/{s}.parquet", run.examples(s), bool(run.stage(s).get("classes"))) for s in run.stages]
    for name, table, classified in tables:
        # A stage without classes (a language model, say) predicts nothing that could be right or wrong.
        needed = {"id", "label", "loss"} | ({"prediction", "confidence"} if classified else set())
        missing = needed - set(table.columns)
        if missing or table.empty:
            wrong = f"lacks {', '.join(sorted(missing))}" if missing else "has no rows"
            raise RunError(f"{name} of run {run.name} {wrong}. Compute the run again with `upstream precompute`.")
    for stage in run.stages:
        for method in run.methods(stage):
            expected, actual = (len(run.queries()), len(run.examples(stage))), run.scores(stage, method).shape
            if actual != expected:
                raise RunError(f"Scores {stage}-{method} of run {run.name} have shape {actual}, not {expected}.")


def listed(root: Path) -> tuple[list[str], dict[str, str]]:
    """Names of the runs in `root` that can be opened, and what is wrong with the others (or under way)."""
    good, bad = [], {}
    for folder, found in runs_in(root):
        if isinstance(found, RunError):
            bad[folder.name] = str(found)
        else:
            good.append(folder.name)
    for draft in sorted(root.glob(".*.unfinished")) if root.is_dir() else []:
        name = draft.name[1 : -len(".unfinished")]
        if name not in good:
            bad[name] = (
                f"Run {name} is not finished: it is being computed, or was stopped. In that case run the same "
                "`upstream precompute` command to resume it."
            )
    return good, bad


def manifests(root: Path) -> list[Run]:
    """The runs in `root` that can be opened, with their manifests read and their files not yet verified."""
    return [found for _, found in runs_in(root) if not isinstance(found, RunError)]


def scored_stages(run: Run) -> list[str]:
    """The stages whose training examples have scores, first to last."""
    return [stage for stage in run.stages if run.methods(stage)]


def row(run: Run, stage: str, method: str, position: int) -> np.ndarray:
    """One query's scores of a stage's examples, float32 (n_examples,), nats, positive = helpful.

    Raises:
        RunError: the row cannot be read, or holds values that are not finite.
    """
    with reading(run, stage, method):
        scores = np.asarray(array(run, stage, method)[position])
    refuse_not_finite(run, stage, method, scores, f" (row {position})")
    return scores


@contextlib.contextmanager
def reading(run: Run, stage: str, method: str) -> Iterator[None]:
    """What goes wrong while scores are read becomes a RunError that names them."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"Scores {stage}-{method} of run {run.name} cannot be read: {error}") from error


def refuse_not_finite(run: Run, stage: str, method: str, scores: np.ndarray, where: str = "") -> None:
    """Raise RunError if `scores`, or sums of some, are not finite."""
    if not np.isfinite(scores).all():
        raise RunError(
            f"Scores {stage}-{method} of run {run.name} hold values that are not finite{where}. "
            "Compute the run again with `upstream precompute`."
        )


def computed(run: Run) -> int:
    """The same number as long as a run is the same but for checks that are added to it."""
    return hash(frozenset(item for item in run.manifest["files"].items() if not item[0].startswith("validation/")))


def array(run: Run, stage: str, method: str) -> zarr.Array:
    """The scores of a stage's examples, (n_queries, n_examples); opened once, read only where it is indexed."""
    return _array(run, run.manifest["checksum"], stage, method)


@st.cache_resource(max_entries=32, show_spinner=False)
def _array(_run: Run, checksum: str, stage: str, method: str) -> zarr.Array:
    return _run.scores(stage, method)


def mapped(run: Run) -> pd.DataFrame | None:
    """The examples that have a place on the map, or None if the run has no map."""
    stage = (run.manifest.get("map") or {}).get("stage")
    if stage not in run.stages:
        return None
    table = run.examples(stage)
    return table if {"x", "y"} <= set(table.columns) and table[["x", "y"]].notna().all(axis=None) else None
