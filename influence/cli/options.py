"""Options that several commands take, and what they mean."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

NameOfRun = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run in --runs, or a path.")]
Function = Annotated[
    str | None,
    typer.Option("--study", metavar="FILE.py:FUNCTION", help="Of a run that was computed from a function."),
]
TrainingDevice = Annotated[str, typer.Option("--device", help="Where to train, e.g. cuda.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.", envvar="UPSTREAM_RUNS")]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, max=2**32 - 1, help="Of training, sampling and the map; default 0.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the explorer.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the address.")]
DEFAULT_RUNS = Path("data/runs")


def run_path(run: str, runs: Path) -> Path:
    """A name in `runs`, or a path."""
    inside = runs / run
    return Path(run) if not os.path.exists(inside) and (os.sep in run or os.path.isdir(run)) else inside


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Say that nothing is lost when Ctrl+C ends a computation, with exit code 130."""
    try:
        yield
    except KeyboardInterrupt:  # caught here, since typer would end without a word
        typer.echo("Interrupted. Finished steps are kept: the same command resumes.", err=True)
        raise typer.Exit(130) from None
