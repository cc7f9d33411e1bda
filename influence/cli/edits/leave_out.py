"""`upstream leave-out`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import influence.engine
import influence.live
import influence.validation
from influence.cli.console import say
from influence.cli.options import (
    DEFAULT_RUNS,
    DEFAULT_START,
    EngineName,
    Function,
    GpusPerWorker,
    NameOfRun,
    Quiet,
    Runs,
    StageOfExamples,
    Start,
    Threads,
    TrainingDevice,
    Workers,
    run_to_train,
)


def leave_out(
    run: NameOfRun,
    ids: Annotated[list[int], typer.Argument(help="Ids of the examples to train without, all at once.")],
    stage: StageOfExamples = None,
    start: Start = DEFAULT_START,
    study: Function = None,
    device: TrainingDevice = "cpu",
    runs: Runs = DEFAULT_RUNS,
    threads: Threads = None,
    engine: EngineName = "here",
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = 0,
    quiet: Quiet = False,
) -> None:
    """Really train again without some examples.

    What it did is kept in the run, beside what was predicted.
    """
    crew = influence.engine.engine_of(engine, workers=workers, threads=threads, gpus_per_worker=gpus_per_worker)
    opened = run_to_train(run, runs, device, crew.threads if crew else threads, quiet)
    live, validation = influence.live, influence.validation
    name = opened.stage(stage or opened.stages[0]).name
    out = [live.Alteration(live.LEAVE_OUT, name, each) for each in dict.fromkeys(ids)]
    options: dict[str, Any] = {"really": True, "start": start, "function": study, "device": device}
    found, remarks = validation.what_if(opened, out, engine=crew or engine, progress=not quiet, **options)
    for line in [validation.omission.result_sentence(found, out, start), *remarks]:
        say(line)
