"""`upstream validate`."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

import influence.engine
import influence.validation
from influence.cli.console import say_table
from influence.cli.options import (
    DEFAULT_RUNS,
    EngineName,
    Function,
    GpusPerWorker,
    NameOfRun,
    Quiet,
    Runs,
    Seed,
    Threads,
    TrainingDevice,
    Workers,
    run_to_train,
)
from influence.errors import RunError

_SECONDS = {"s": 1, "m": 60, "h": 3600}


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
    seed: Seed = None,
    threads: Threads = None,
    engine: EngineName = "here",
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = 0,
    quiet: Quiet = False,
) -> None:
    """Check a run's scores by training again without examples.

    What happened is compared with what was predicted.
    The same command again goes on where this one stopped: no retraining is ever done twice.
    """
    seconds = seconds_of(budget)
    crew = influence.engine.engine_of(engine, workers=workers, threads=threads, gpus_per_worker=gpus_per_worker)
    opened = run_to_train(run, runs, device, crew.threads if crew else threads, quiet)
    options: dict[str, Any] = {
        "checks": check or [], "stage": stage, "function": study, "device": device, "engine": crew or engine,
    }  # fmt: skip
    checked = influence.validation.validate(opened, budget=seconds, seed=seed or 0, progress=not quiet, **options)
    say_table(*influence.validation.findings_table(checked))


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
