"""`upstream explore`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from influence.cli.options import DEFAULT_RUNS, NoBrowser, Port, Runs, run_path
from influence.studies.cards import CARDS


def explore(
    run: Annotated[str | None, typer.Argument(help="Name of a run in --runs, or a path; default the first.")] = None,
    runs: Runs = DEFAULT_RUNS,
    port: Port = 8501,
    no_browser: NoBrowser = False,
) -> None:
    """Open the explorer in the browser."""
    first = run_path(run, runs) if run else usual(runs)
    serve(runs, str(first) if first else None, port, no_browser)


def usual(runs: Path) -> Path | None:
    """The run that `upstream demo` opens, in a folder whose first run is of its study; else None, the first."""
    names = sorted(manifest.parent.name for manifest in runs.glob("[!.]*/run.json"))
    for card in CARDS.values():
        of_study = [f"{card.name}-{variant}" for variant in card.variants]
        if names and names[0] in of_study and of_study[0] in names[1:]:
            return runs / of_study[0]
    return None


def serve(runs: Path, run: str | None, port: int, no_browser: bool, study: str | None = None) -> None:
    """Serve the explorer until it is stopped, then end with its exit code.

    It is a process of its own: the backend never imports the explorer. Like every process that we start, it imports
    nothing from the current folder (-P), where a file may be called `numpy.py`. Ctrl+C does not reach it; it is asked
    to end, which it can be at any moment. An embedded `study` is computed meanwhile; `run` is then the first of its
    runs.
    """
    arguments = ["--runs", str(runs), "--port", str(port)]
    arguments += ["--run", run] if run else []
    arguments += ["--compute", study] if study else []
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
