"""`upstream explore`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from influence.cli.options import DEFAULT_RUNS, Function, NoBrowser, Port, Runs, run_path
from influence.errors import StudyError
from influence.studies.cards import CARDS


def explore(
    run: Annotated[str | None, typer.Argument(help="Name of a run in --runs, or a path; default the first.")] = None,
    runs: Runs = DEFAULT_RUNS,
    study: Function = None,
    port: Port = 8501,
    no_browser: NoBrowser = False,
) -> None:
    """Open the explorer in the browser.

    Code that a run names is never executed by itself: with --study, runs that were computed from this function can be
    asked and trained again, too.
    """
    first = run_path(run, runs) if run else usual(runs)
    serve(runs, str(first) if first else None, port, no_browser, function=_whole(study))


def _whole(function: str | None) -> str | None:
    """FILE.py:FUNCTION with the whole path: the server has a folder of its own.

    Raises:
        StudyError: it is none, or there is no such file.
    """
    if function is None:
        return None
    file, _, name = function.rpartition(":")
    if not name.isidentifier() or not Path(file).is_file():
        raise StudyError(f"--study is {function!r}, expected FILE.py:FUNCTION with a file that is there.")
    return f"{Path(file).resolve()}:{name}"


def usual(runs: Path) -> Path | None:
    """The run that `upstream demo` opens, in a folder whose first run is of its study; else None, the first."""
    names = sorted(manifest.parent.name for manifest in runs.glob("[!.]*/run.json"))
    for card in CARDS.values():
        of_study = [f"{card.name}-{variant}" for variant in card.variants]
        if names and names[0] in of_study and of_study[0] in names[1:]:
            return runs / of_study[0]
    return None


def serve(
    runs: Path, run: str | None, port: int, no_browser: bool, study: str | None = None, function: str | None = None
) -> None:
    """Serve the explorer until it is stopped, then end with its exit code.

    It is a process of its own: the backend never imports the explorer. Like every process that we start, it imports
    nothing from the current folder (-P), where a file may be called `numpy.py`. Ctrl+C does not reach it; it is asked
    to end, which it can be at any moment. An embedded `study` is computed meanwhile; `run` is then the first of its
    runs. `function` is FILE.py:FUNCTION, of whose runs the models may be asked.
    """
    arguments = ["--runs", str(runs), "--port", str(port)]
    arguments += ["--run", run] if run else []
    arguments += ["--compute", study] if study else []
    arguments += ["--study", function] if function else []
    arguments += ["--no-browser"] if no_browser else []
    with subprocess.Popen([sys.executable, "-P", "-m", "explorer", *arguments], process_group=0) as explorer:
        try:
            code = explorer.wait()
        except SystemExit as interruption:  # a signal's
            explorer.terminate()
            code = explorer.wait()
            if code < 0 or (code == interruption.code and study is None):  # before it could serve, or say so
                raise
    raise typer.Exit(code)
