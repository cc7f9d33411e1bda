"""`upstream verify`."""

from __future__ import annotations

from typing import Annotated

import typer

import influence.run
import influence.validation
from influence.cli.console import say
from influence.cli.options import (
    DEFAULT_RUNS,
    Function,
    NameOfRun,
    Quiet,
    Runs,
    StageOfExamples,
    Threads,
    TrainingDevice,
    run_to_train,
)


def verify(
    run: NameOfRun,
    query: Annotated[int, typer.Argument(metavar="ID", help="Id of the test query whose list is verified.")],
    stage: StageOfExamples = None,
    study: Function = None,
    device: TrainingDevice = "cpu",
    runs: Runs = DEFAULT_RUNS,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Replay one query's derivative through the recorded steps of all trainings.

    For models that stopped short of a minimum. What it finds is kept in the run, beside the list.
    """
    opened = run_to_train(run, runs, device, threads, quiet)
    found = influence.validation.verify(opened, query, stage=stage, function=study, device=device, progress=not quiet)
    name = found.stage(stage or found.stages[0]).name
    position = influence.run.position_of(found, query)
    derivative = influence.run.replayed(found, name, position)
    assert derivative is not None  # `verify` has put it there
    say(influence.validation.verification.sentence(found, name, position, derivative))
