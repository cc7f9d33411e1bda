"""`upstream leave-out`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import influence.attribution
import influence.live
import influence.validation
from influence.cli.console import say
from influence.cli.options import (
    DEFAULT_RUNS,
    Function,
    NameOfRun,
    Quiet,
    Runs,
    Threads,
    TrainingDevice,
    largest_model,
    run_path,
    say_loading,
)
from influence.errors import StudyError
from influence.threads import set_threads


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
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Really train again without some examples.

    What it did is kept in the run, beside what was predicted.
    """
    if start not in ("solution", "scratch"):
        raise StudyError(f"--start is {start!r}, expected solution or scratch.")
    say_loading(quiet)
    influence.attribution.usable(device)
    live, validation = influence.live, influence.validation
    opened = influence.Run.open(run_path(run, runs))
    set_threads(largest_model(opened), threads)
    name = opened.stage(stage or opened.stages[0]).name
    out = [live.Alteration(live.LEAVE_OUT, name, each) for each in dict.fromkeys(ids)]
    options: dict[str, Any] = {"really": True, "start": start, "function": study, "device": device}
    found, remarks = validation.what_if(opened, out, progress=not quiet, **options)
    for line in [validation.omission.result_sentence(found, out, start), *remarks]:
        say(line)
