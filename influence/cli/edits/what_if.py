"""`upstream what-if`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import influence.engine
import influence.live
import influence.run
import influence.validation
from influence.cli.console import say
from influence.cli.edits.export import Form, export_tables
from influence.cli.edits.several import FORMS
from influence.cli.options import (
    DEFAULT_RUNS,
    DEFAULT_START,
    EngineName,
    Function,
    GpusPerWorker,
    NameOfRun,
    Quiet,
    Runs,
    Start,
    Threads,
    TrainingDevice,
    Workers,
    run_to_train,
)
from influence.errors import StudyError, listed

if TYPE_CHECKING:
    from influence.run import Run


def what_if(
    run: NameOfRun,
    leave_out: Annotated[list[str] | None, typer.Option("--leave-out", metavar="ID ...", help="Left out.")] = None,
    relabel: Annotated[
        list[str] | None, typer.Option("--relabel", metavar="ID=CLASS ...", help="With another label.")
    ] = None,
    upweight: Annotated[
        list[str] | None, typer.Option("--upweight", metavar="ID=BY ...", help="With weight 1 + BY; 1 counts it twice.")
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option("--mask", metavar="ID=LEFT,TOP,WIDTH,HEIGHT ...", help="With a part of its picture blank."),
    ] = None,
    strike: Annotated[
        list[str] | None,
        typer.Option("--strike", metavar="ID=WORD ...", help="With a word out of its text; quote a phrase."),
    ] = None,
    take_back: Annotated[
        list[str] | None,
        typer.Option("--take-back", metavar="ID=RULE ...", help="Without this rule's vote on its label."),
    ] = None,
    switch_off: Annotated[
        list[str] | None,
        typer.Option("--switch-off", metavar="RULE", help="Without any vote of this rule; may be repeated."),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(
            "--add",
            metavar="FILE ...",
            help="More examples: a file of texts, a folder of class folders, or the ID of a prediction of the run.",
        ),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option("--stage", help="Of ids without STAGE:, default the first."),
    ] = None,
    target: Annotated[
        str, typer.Option("--target", help="What is made of all queries: loss, class:NAME, gap:COLUMN or error:NAME.")
    ] = "loss",
    really: Annotated[bool, typer.Option("--really", help="Train again with the edits, too.")] = False,
    start: Start = DEFAULT_START,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="DIR", help="Write the edited examples there.")
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="Of what is exported; pictures of CSV are files.")] = "parquet",
    study: Function = None,
    device: TrainingDevice = "cpu",
    runs: Runs = DEFAULT_RUNS,
    threads: Threads = None,
    engine: EngineName = "here",
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = 0,
    quiet: Quiet = False,
) -> None:
    """Predict what edits of the training data would do, all made together.

    Beside the prediction stands the sum of what each does alone and, with --really, what training again gives. It is
    kept in the run.
    """
    crew = influence.engine.engine_of(engine, workers=workers, threads=threads, gpus_per_worker=gpus_per_worker)
    opened = run_to_train(run, runs, device, crew.threads if crew else threads, quiet)
    live, preview, slices = influence.live, influence.validation.preview, influence.validation.slices
    name = opened.stage(stage or opened.stages[0]).name
    summed = slices.Slice(opened, target)
    asked = [
        *_each(opened, name, "leave-out", leave_out, None),
        *_each(opened, name, "relabel", relabel, str),
        *_each(opened, name, "upweight", upweight, float),
        *_each(opened, name, "mask", mask, _box),
        *_each(opened, name, "strike", strike, str),
        *_each(opened, name, "take-back", take_back, str),
        *(_rule(*_staged(opened, name, each)) for each in switch_off or ()),
        *(_addition(*_staged(opened, name, each)) for each in add or ()),
    ]
    options: dict[str, Any] = {"really": really, "start": start, "function": study, "device": device}
    found, remarks = preview.what_if(opened, asked, engine=crew or engine, progress=not quiet, **options)
    for line in [*preview.sentences(found, asked, start, summed), *remarks]:
        say(line)
    if export is not None:
        written = export_tables(live.altered_tables(found, asked), export, form)
        say(f"Written to {export}: {', '.join(written)}.")


def _each(
    run: Run, stage: str, option: str, given: Iterable[str] | None, value_of: Callable[[str], Any] | None
) -> list[Any]:
    """Alterations from texts ID=VALUE or STAGE:ID=VALUE; without `value_of`, from ID or STAGE:ID."""
    found = []
    for text in given or ():
        whose, stated = _staged(run, stage, text)
        name, sign, value = stated.partition("=")
        try:
            if bool(sign) != bool(value_of):
                raise ValueError
            made = value_of(value) if value_of else None
            kind = option.replace("-", " ")
            found.append(influence.live.Alteration(kind, whose, int(name), made))
        except ValueError as error:
            form = FORMS[f"--{option}"]
            raise StudyError(
                f"--{option} is {text!r}, expected {form} or STAGE:{form}, where ID is a valid integer and STAGE one "
                f"of {listed(map(repr, run.stages))}."
            ) from error
    return found


def _rule(stage: str, rule: str) -> Any:
    return influence.live.Alteration(influence.live.SWITCH_OFF, stage, influence.live.NONE, rule)


def _addition(stage: str, stated: str) -> Any:
    """What is added: the prediction with this id, if no file is called so, else what the file or folder holds."""
    live, path = influence.live, Path(stated)
    if re.fullmatch(r"-?\d+", stated) and not path.exists():
        return live.Alteration(live.ADD, stage, int(stated))
    return live.addition(stage, path)


def _staged(run: Run, stage: str, text: str) -> tuple[str, str]:
    """(stage, what is stated of it), of a text that may begin with STAGE: in place of the usual stage."""
    whose = max((each for each in run.stages if text.startswith(f"{each}:")), key=len, default="")  # may hold colons
    return (whose, text.removeprefix(f"{whose}:")) if whose else (stage, text)


def _box(text: str) -> tuple[int, ...]:
    found = tuple(int(number) for number in text.split(","))
    if len(found) != 4:
        raise ValueError(text)
    return found
