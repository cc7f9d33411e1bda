"""`upstream ...`: the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from influence.curvature import METHODS
from influence.errors import UpstreamError
from influence.run import Run, runs_in
from influence.studies import STUDIES, study_named

app = typer.Typer(
    help="Which pretraining examples made a finetuned model right or wrong? Start with `upstream demo`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console()

Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.", envvar="UPSTREAM_RUNS")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of training, sampling and the map.")]
Name = Annotated[str | None, typer.Option("--name", help="Beginning of the runs' names; default the study's name.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the explorer.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the address.")]
DEFAULT_RUNS = Path("data/runs")


@app.command()
def demo(runs: Runs = DEFAULT_RUNS, port: Port = 8501, no_browser: NoBrowser = False) -> None:
    """Compute the embedded study `digits` if it is not there yet, and open the explorer on it."""
    finished = _compute("digits", runs, None, 0, quiet=False)
    _explore(runs, str(finished[0].path), port, no_browser)


@app.command()
def precompute(
    study: Annotated[str, typer.Argument(help="Name of a built-in study; `upstream studies` lists them.")],
    runs: Runs = DEFAULT_RUNS,
    name: Name = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Train a study's models, score every training example against every test prediction, and write runs.

    An interrupted computation resumes where it stopped when the same command is given again.
    """
    for run in _compute(study, runs, name, seed, quiet):
        out.print(f"Finished: {run.path}", soft_wrap=True, markup=False, highlight=False)
    out.print("Look at them with `upstream explore`.", markup=False)


@app.command()
def studies() -> None:
    """List the built-in studies."""
    table = Table("study", "what it is", "runs", box=None, header_style="bold")
    for each in STUDIES.values():
        table.add_row(each.name, each.summary, ", ".join(f"{each.name}-{variant}" for variant in each.variants))
    out.print(table)


@app.command()
def methods() -> None:
    """List the methods with their cost and when to use which."""
    table = Table(
        "method", "what it computes", "cost", "when to use it", box=None, header_style="bold", padding=(0, 2, 1, 0)
    )
    for method in METHODS.values():
        table.add_row(method.name, method.summary, method.cost, method.advice)
    out.print(table)


@app.command("runs")
def list_runs(runs: Runs = DEFAULT_RUNS) -> None:
    """List the runs of a folder."""
    found = runs_in(runs)
    if not found:
        out.print(f"No runs in {runs}. `upstream demo` makes the first.", soft_wrap=True, markup=False, highlight=False)
        return
    table = Table("run", "what it is", "queries correct", "created", box=None, header_style="bold")
    for folder, run in found:
        if isinstance(run, Run):
            accuracy = run.manifest["stages"][-1]["test_accuracy"]
            correct = "" if accuracy is None else f"{accuracy:.1%}"
            table.add_row(
                escape(folder.name),
                escape(run.manifest["title"]),
                correct,
                run.manifest["created"][:16].replace("T", " "),
            )
        else:
            table.add_row(escape(folder.name), escape(str(run)), "", "")
    out.print(table)


@app.command()
def check(
    run: Annotated[str, typer.Argument(help="Name of a run in --runs, or a path.")], runs: Runs = DEFAULT_RUNS
) -> None:
    """Verify a run's format and every file's checksum."""
    opened = Run.open(_run_path(run, runs))
    out.print(
        f"{opened.path}: {len(opened.manifest['files'])} files, all as they were written.",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


@app.command()
def explore(
    run: Annotated[str | None, typer.Argument(help="Name of a run in --runs, or a path; default the first.")] = None,
    runs: Runs = DEFAULT_RUNS,
    port: Port = 8501,
    no_browser: NoBrowser = False,
) -> None:
    """Open the explorer in the browser."""
    _explore(runs, str(_run_path(run, runs)) if run else None, port, no_browser)


def _compute(study: str, runs: Path, name: str | None, seed: int, quiet: bool) -> list[Run]:
    from influence.precompute import (
        precompute as compute,
    )  # imports that take seconds, and `upstream --help` should not

    built = study_named(study)(seed)
    exhibits = [built.exhibit(variant) for variant in built.variants]
    names = [f"{name or study}-{variant}" for variant in built.variants]
    try:
        return compute(exhibits, names, runs, progress=not quiet)
    except KeyboardInterrupt:  # caught here, since typer would end without a word
        Console(stderr=True).print("Interrupted. Finished steps are kept: the same command resumes.", markup=False)
        raise typer.Exit(130) from None


def _run_path(run: str, runs: Path) -> Path:
    """A name in `runs`, or a path."""
    inside = runs / run
    return Path(run) if not os.path.exists(inside) and (os.sep in run or os.path.isdir(run)) else inside


def _explore(runs: Path, run: str | None, port: int, no_browser: bool) -> None:
    # A process of its own: the backend never imports the explorer.
    arguments = ["--runs", str(runs), "--port", str(port)]
    arguments += ["--run", run] if run else []
    arguments += ["--no-browser"] if no_browser else []
    try:
        code = subprocess.run([sys.executable, "-m", "explorer", *arguments], check=False).returncode
    except KeyboardInterrupt:
        code = 0
    raise typer.Exit(code)


def main() -> None:
    """Run the command line; errors that the user can mend are printed without a traceback, with exit code 2."""
    error = Console(stderr=True)
    try:
        app()
    except UpstreamError as problem:
        error.print(f"Error: {problem}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except OSError as problem:  # no permission, a full disk
        where = f" ({problem.filename})" if problem.filename else ""
        message = f"{problem.strerror or problem}{where}. Finished steps are kept: mend that and give the same command."
        error.print(f"Error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
