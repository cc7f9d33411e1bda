"""Options that several commands take, and what they mean."""

from __future__ import annotations

import math
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import influence.attribution
import influence.run
from influence.cli.console import say
from influence.errors import StudyError, printable
from influence.threads import set_threads

if TYPE_CHECKING:
    from influence import Run

THREADS = "UPSTREAM_THREADS"
"""Environment variable that --threads is read from, for the process that a command starts."""
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
"""As a path, which keeps one of its two slashes. One letter is a drive."""
STARTS = ("solution", "scratch")
"""Where training again begins, the default first."""


def _start(value: str) -> str:
    if value not in STARTS:
        raise StudyError(f"--start is {value!r}, expected {' or '.join(STARTS)}.")
    return value


def _folder(value: Path) -> Path:
    if found := _URL.match(str(value)):
        raise StudyError(
            f"--runs is a URL ({printable(found[1])}:), expected a folder. Mount the store as one, or copy runs "
            "there when they are finished (docs/scale.md)."
        )
    return value


NameOfRun = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run in --runs, or a path.")]
Function = Annotated[
    str | None,
    typer.Option("--study", metavar="FILE.py:FUNCTION", help="Of a run that was computed from a function."),
]
Start = Annotated[
    str,
    typer.Option(
        "--start", callback=_start, help="solution: train on from where the models stand; scratch: all over again."
    ),
]
StageOfExamples = Annotated[str | None, typer.Option("--stage", help="Whose examples; default the first, pretraining.")]
TrainingDevice = Annotated[str, typer.Option("--device", help="Where to train, e.g. cuda.")]
Runs = Annotated[
    Path, typer.Option("--runs", callback=_folder, help="Folder that holds the runs.", envvar="UPSTREAM_RUNS")
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, max=2**32 - 1, help="Of training, sampling and the map; default 0.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=1024,
        envvar=THREADS,
        help="Of the processor; default by the size of the models, at most as many as this process may use.",
    ),
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="here|ray|ray://HOST:PORT",
        help="Who computes: this process; or workers of the cluster at RAY_ADDRESS, else of one on this machine; "
        "or of the cluster at an address.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=100_000, help="With an engine; default one for every --threads processors."),
]
GpusPerWorker = Annotated[
    float, typer.Option("--gpus-per-worker", min=0, max=1024, help="With an engine: GPUs that each worker has.")
]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the explorer.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the address.")]
DEFAULT_RUNS = Path("data/runs")
DEFAULT_START = STARTS[0]


def largest_model(run: Run) -> int:
    """Parameters and entries of buffers of the largest of a run's models."""
    return max(sum(math.prod(shape) for shape in run.shapes(stage).values()) for stage in run.stages)


def told(run: Run) -> list[str]:
    """What is to be known of a run before its scores are believed, a line each."""
    method = run.manifest.default_method
    lost = [stage for stage in run.stages if run.unit(method, stage) == influence.run.ORDER_ONLY]
    of = "its scores" if len(lost) == len(run.stages) else f"scores of {' and '.join(lost)}"
    unit = [f"Order only: the size of {of} means nothing, their order within a query does."] if lost else []
    unit += [f"{stage}: {slope.words}" for stage in run.stages if (slope := influence.run.slope_of(run, method, stage))]
    return [*unit, *(f"Warning: {warning}" for warning in run.manifest.warnings)]


def run_path(run: str, runs: Path) -> Path:
    """A name in `runs`, or a path."""
    inside = runs / run
    return Path(run) if not os.path.exists(inside) and (os.sep in run or os.path.isdir(run)) else inside


def run_to_train(run: str, runs: Path, device: str, threads: int | None, quiet: bool) -> Run:
    """The run, opened for a command that trains its models again: on a device that is there, with its threads set."""
    say_loading(quiet)
    influence.attribution.usable(device)
    opened = influence.run.Run.open(run_path(run, runs))
    set_threads(largest_model(opened), threads)
    return opened


def say_loading(quiet: bool) -> None:
    """Say that PyTorch is loaded, which takes the first seconds, unless it is loaded already."""
    if not quiet and "torch" not in sys.modules:
        say("Loading PyTorch and the study.", err=True)
