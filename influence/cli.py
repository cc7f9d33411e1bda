"""`upstream ...`: the command line."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from influence.attribution.guards import usable
from influence.attribution.replay import Replay
from influence.curvature import METHODS, Method
from influence.errors import RunError, StudyError, UpstreamError
from influence.precompute.needs import check_solver
from influence.run.reading import Run, runs_in
from influence.studies.built_in import STUDIES
from influence.studies.exhibit import Exhibit
from influence.studies.request import exhibits_for, shipped
from influence.studies.texts.study import TextOptions

_SECONDS = {"s": 1, "m": 60, "h": 3600}

app = typer.Typer(
    help="Which pretraining examples made a finetuned model right or wrong? Start with `upstream demo`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console()

NameOfRun = Annotated[str, typer.Argument(help="Name of a run in --runs, or a path.")]
Function = Annotated[
    str | None,
    typer.Option("--study", metavar="FILE.py:FUNCTION", help="Of a run that was computed from a function."),
]
TrainingDevice = Annotated[str, typer.Option("--device", help="Where to train, e.g. cuda.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.", envvar="UPSTREAM_RUNS")]
SeedIfAny = Annotated[
    int | None, typer.Option("--seed", min=0, max=2**32 - 1, help="Of training, sampling and the map; default 0.")
]
Name = Annotated[str | None, typer.Option("--name", help="Beginning of the runs' names; default the study's name.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the explorer.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the address.")]
DEFAULT_RUNS = Path("data/runs")


@app.command()
def demo(
    study: Annotated[str, typer.Option("--study", help="A built-in study whose data is embedded.")] = "digits",
    runs: Runs = DEFAULT_RUNS,
    port: Port = 8501,
    no_browser: NoBrowser = False,
) -> None:
    """Compute an embedded study, `digits` or another, if it is not there yet, and open the explorer on it."""
    if study not in shipped():
        why = "needs data that is not embedded" if study in STUDIES else "is not among the built-in studies"
        raise StudyError(
            f"--study {study!r} {why}; the demo takes {', '.join(shipped())}. For others: `upstream precompute`."
        )
    with _interruptible():
        finished = _compute(exhibits_for(study, None, None, 0, {}, {}), runs, None, "cpu", quiet=False)
    _explore(runs, str(finished[0].path), port, no_browser)


@app.command()
def precompute(
    study: Annotated[
        str | None,
        typer.Argument(help="Name of a built-in study (`upstream studies` lists them), or FILE.py:FUNCTION."),
    ] = None,
    images: Annotated[
        tuple[Path, Path, Path] | None,
        typer.Option(
            "--images",
            metavar="PRETRAIN FINETUNE TEST",
            help="Instead of a study: three folders, each with a folder of pictures per class. TEST has classes of "
            "FINETUNE.",
        ),
    ] = None,
    texts: Annotated[
        tuple[Path, Path, Path] | None,
        typer.Option(
            "--texts",
            metavar="PRETRAIN FINETUNE TEST",
            help="Instead of a study: three files of texts (.csv, .tsv, .parquet, .jsonl; PRETRAIN also .txt). "
            "FINETUNE and TEST have labels.",
        ),
    ] = None,
    text_column: Annotated[
        str | None, typer.Option("--text-column", metavar="NAME", help="Column or key of the texts; default text.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option("--label-column", metavar="NAME", help="Of their classes; default label.")
    ] = None,
    title_column: Annotated[
        str | None, typer.Option("--title-column", metavar="NAME", help="Of titles to show; default title, if there.")
    ] = None,
    source_column: Annotated[
        str | None, typer.Option("--source-column", metavar="NAME", help="Of where from; default source, if there.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=2, help="At most so many texts of each file, drawn by the seed.")
    ] = None,
    vocabulary: Annotated[
        int | None, typer.Option("--vocabulary", min=4, help=f"Words that are known; default {TextOptions.vocabulary}.")
    ] = None,
    context: Annotated[
        int | None,
        typer.Option("--context", min=2, help=f"Tokens that are read; default {TextOptions.context}."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Where the data of cifar10 or fashion is.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help='"cnn" (default), or a classifier of torchvision, e.g. resnet18.')
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="safetensors file to start from; default random.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", min=8, max=1024, help="Side in pixels; default 32.")
    ] = None,
    finetuning: Annotated[
        str | None,
        typer.Option(
            "--finetuning", help="Backbone in finetuning: frozen, updated or both; default both, of definitions frozen."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Passes over the pictures, or the texts.")
    ] = None,
    l2: Annotated[float | None, typer.Option("--l2", min=0.0, help="l2 term; of texts, to pretrain.")] = None,
    queries: Annotated[
        int | None, typer.Option("--queries", min=1, help="At most so many test examples, drawn by the seed.")
    ] = None,
    sentence_model: Annotated[
        Path | None,
        typer.Option(
            "--sentence-model", metavar="DIR", help="Of texts: a sentence-transformers model for map and nearest."
        ),
    ] = None,
    method: Annotated[str | None, typer.Option("--method", help="`upstream methods` lists them.")] = None,
    damping: Annotated[float | None, typer.Option("--damping", help="Added to every stage's curvature.")] = None,
    curvature: Annotated[str | None, typer.Option("--curvature", help="ggn or hessian.")] = None,
    device: Annotated[str, typer.Option("--device", help="Where to compute, e.g. cuda.")] = "cpu",
    runs: Runs = DEFAULT_RUNS,
    name: Name = None,
    seed: SeedIfAny = None,
    quiet: Quiet = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would need.")] = False,
) -> None:
    """Train a study's models, score every training example against every test prediction, and write runs.

    An interrupted computation resumes where it stopped when the same command is given again.
    """
    options: dict[str, Any] = {"data": data, "finetuning": finetuning, "l2": l2, "epochs": epochs, "queries": queries}
    options |= {"model": model, "weights": weights, "size": image_size}
    options |= {"vocabulary": vocabulary, "context": context, "sample": sample, "sentence_model": sentence_model}
    options |= {"text_column": text_column, "label_column": label_column}
    options |= {"title_column": title_column, "source_column": source_column}
    solving: dict[str, Any] = {"method": method, "damping": damping, "curvature": curvature}
    with _interruptible():
        check_solver(**solving)
        usable(device)
        exhibits = exhibits_for(study, images, texts, seed, options, solving)
        for run in _compute(exhibits, runs, name, device, quiet, dry_run):
            out.print(f"Finished: {run.path}", soft_wrap=True, markup=False, highlight=False)
    if not dry_run:
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
    rungs: list[type[Method] | type[Replay]] = [*METHODS.values(), Replay]
    for method in rungs:
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
def validate(
    run: NameOfRun,
    budget: Annotated[str, typer.Option("--budget", metavar="TIME", help="At most so long: 90s, 10m, 1h.")] = "10m",
    check: Annotated[
        list[str] | None, typer.Option("--check", metavar="NAME", help="Only this check; may be given several times.")
    ] = None,
    stage: Annotated[
        str | None, typer.Option("--stage", help="Whose examples are left out; default the first, pretraining.")
    ] = None,
    study: Function = None,
    device: TrainingDevice = "cpu",
    runs: Runs = DEFAULT_RUNS,
    seed: SeedIfAny = None,
    quiet: Quiet = False,
) -> None:
    """Check a run's scores: train again without examples, and compare with what was predicted.

    The same command again goes on where this one stopped: no retraining is ever done twice.
    """
    from influence.validation import (  # imports that take seconds, and `upstream --help` should not
        findings_table,
        validate,
    )

    seconds = seconds_of(budget)
    usable(device)
    with _interruptible():
        opened = Run.open(_run_path(run, runs))
        options: dict[str, Any] = {"checks": check or [], "stage": stage, "function": study, "device": device}
        checked = validate(opened, budget=seconds, seed=seed or 0, progress=not quiet, **options)
    out.print(findings_table(checked))


@app.command("leave-out")
def leave_out(
    run: NameOfRun,
    ids: Annotated[list[int], typer.Argument(help="Ids of the examples to train without, all at once.")],
    stage: Annotated[
        str | None, typer.Option("--stage", help="Whose they are; default the first, pretraining.")
    ] = None,
    start: Annotated[
        str, typer.Option("--start", help="solution: train on from where the models stand; scratch: all over again.")
    ] = "solution",
    study: Function = None,
    device: TrainingDevice = "cpu",
    runs: Runs = DEFAULT_RUNS,
    quiet: Quiet = False,
) -> None:
    """Really train again without some examples, and keep in the run what it did beside what was predicted."""
    from influence.validation import omission  # imports that take seconds, and `upstream --help` should not

    if start not in ("solution", "scratch"):
        raise StudyError(f"--start is {start!r}, expected solution or scratch.")
    usable(device)
    with _interruptible():
        opened = Run.open(_run_path(run, runs))
        rows = omission.rows_of(opened, ids, stage)
        options: dict[str, Any] = {"stage": stage, "start": start, "function": study, "device": device}
        found = omission.leave_out(opened, rows, progress=not quiet, **options)
    out.print(omission.result_sentence(found, rows, stage, start), soft_wrap=True, markup=False, highlight=False)


@app.command()
def explore(
    run: Annotated[str | None, typer.Argument(help="Name of a run in --runs, or a path; default the first.")] = None,
    runs: Runs = DEFAULT_RUNS,
    port: Port = 8501,
    no_browser: NoBrowser = False,
) -> None:
    """Open the explorer in the browser."""
    _explore(runs, str(_run_path(run, runs)) if run else None, port, no_browser)


def _compute(
    exhibits: list[Exhibit], runs: Path, name: str | None, device: str, quiet: bool, dry_run: bool = False
) -> list[Run]:
    from influence.precompute.steps import examine  # imports that take seconds, and `upstream --help` should not
    from influence.precompute.steps import precompute as compute

    names = ["-".join(filter(None, (name or exhibit.study.name, exhibit.variant))) for exhibit in exhibits]
    for run, need in examine(exhibits, names, runs, device).items():
        if dry_run or not quiet:
            Console(stderr=not dry_run).print("\n".join(need.lines(run)), markup=False, highlight=False, soft_wrap=True)
    return [] if dry_run else compute(exhibits, names, runs, device=device, progress=not quiet)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
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


def seconds_of(text: str) -> float:
    """Seconds of a time such as `90s`, `10m` or `1.5h`.

    Raises:
        RunError: it is no such time, or none at all.
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smh])", text.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not seconds:
        raise RunError(f"The budget is {text!r}, expected a time such as 90s, 10m or 1h.")
    return seconds
