"""The folder of runs. Each run is verified and opened once for all visitors; one replaced on disk is opened anew."""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st

from influence.errors import RunError, printable
from influence.run import DEEPEST_FOLDER, QUERIES_FILE, Run, StageScores, examples_file, runs_in


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
    """A hash of the names, sizes and times of the run's files; none of them is read.

    What a computation under way keeps for itself, `journal.jsonl` and `work/`, is left out.
    """
    seen = []
    for root, folders, names in os.walk(folder):
        if root == str(folder):
            folders[:] = [name for name in folders if name != "work"]
            names = [name for name in names if not name.startswith("journal.jsonl")]
        if root.count(os.sep) - str(folder).count(os.sep) >= DEEPEST_FOLDER:
            folders.clear()  # a run with such folders is refused
        for name in names:
            path = os.path.join(root, name)
            try:
                stat = os.lstat(path)
            except OSError:
                continue
            seen.append((path, stat.st_size, stat.st_mtime_ns))
    return hash(tuple(sorted(seen)))


def function_of(run: Run) -> str | None:
    """FILE.py:FUNCTION that the explorer was started with, if the run was computed from a function of that name.

    Code that a run names is not executed by itself: whoever starts the explorer trusts one function (`--study`).
    """
    given, asked = os.environ.get("UPSTREAM_STUDY"), run.manifest.asked.get("study")
    return given if given and isinstance(asked, str) and Path(asked).name == Path(given).name else None


def study_option(run: Run) -> list[str]:
    """The option of `upstream` commands that gives `function_of` the run."""
    found = function_of(run)
    return ["--study", found] if found else []


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
    tables = [(QUERIES_FILE, run.queries(), bool(run.classes))]
    tables += [(examples_file(s), run.examples(s), bool(run.stage(s).classes)) for s in run.stages]
    for name, table, classified in tables:
        # A stage without classes (a language model, say) predicts nothing that could be right or wrong.
        needed = {"id", "label"} | ({"prediction", "confidence"} if classified else set())
        needed |= set() if run.manifest.imported else {"loss"}
        missing = needed - set(table.columns)
        if missing or table.empty:
            wrong = f"lacks {', '.join(sorted(missing))}" if missing else "has no rows"
            raise RunError(f"{name} of run {run.name} {wrong}. Compute the run again with `upstream precompute`.")
    for stage in run.stages:
        for method in run.methods(stage):
            expected, actual = (len(run.queries()), len(run.examples(stage))), StageScores(run, stage, method).shape
            if actual != expected:
                raise RunError(f"Scores {stage}-{method} of run {run.name} have shape {actual}, not {expected}.")


def names(root: Path) -> tuple[list[str], dict[str, str]]:
    """Names of the runs in `root` that can be opened, and what is wrong with the others (or under way)."""
    good, bad = [], {}
    for folder, found in runs_in(root):
        if isinstance(found, RunError):
            bad[printable(folder.name)] = str(found)
        else:
            good.append(folder.name)
    for draft in sorted(root.glob(".*.unfinished")) if root.is_dir() else []:
        name = printable(draft.name[1 : -len(".unfinished")])
        if name not in good:
            bad[name] = (
                f"Run {name} is not finished: it is being computed, or was stopped. In that case run the same "
                "`upstream precompute` command to resume it."
            )
    return good, bad


def manifests(root: Path) -> list[Run]:
    """The runs in `root` that can be opened, with their manifests read and their files not yet verified."""
    return [found for _, found in runs_in(root) if not isinstance(found, RunError)]
