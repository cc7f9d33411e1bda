"""`upstream what-if`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

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
from influence.errors import RunError, StudyError
from influence.threads import set_threads

SEVERAL = ("--leave-out", "--relabel", "--upweight", "--mask", "--strike", "--add")
FORMS = {
    "leave-out": "ID",
    "relabel": "ID=CLASS",
    "upweight": "ID=BY",
    "mask": "ID=LEFT,TOP,WIDTH,HEIGHT",
    "strike": "ID=WORD",
}


class Several(TyperCommand):
    """A command whose options of `SEVERAL` take all values up to the next option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread, option = list[str](), ""
        for argument, following in zip(args, [*args[1:], "--"], strict=True):
            if argument.startswith("--"):
                option = argument if argument in SEVERAL else ""
                spread += [] if option else [argument]
                if option and following.startswith("--"):
                    raise StudyError(f"{option} has no value, expected {FORMS.get(option[2:], 'one')} after it.")
            else:
                spread += [option, argument] if option else [argument]
        return super().parse_args(ctx, spread)


def what_if(
    run: NameOfRun,
    leave_out: Annotated[list[int] | None, typer.Option("--leave-out", metavar="ID ...", help="Left out.")] = None,
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
    add: Annotated[
        list[Path] | None,
        typer.Option("--add", metavar="FILE ...", help="More examples: a file of texts, or a folder of class folders."),
    ] = None,
    stage: Annotated[
        str | None, typer.Option("--stage", help="Whose examples they are; default the first, pretraining.")
    ] = None,
    target: Annotated[
        str, typer.Option("--target", help="loss, class:NAME or gap:COLUMN: what is summed up of all queries.")
    ] = "loss",
    really: Annotated[bool, typer.Option("--really", help="Train again with the edits, too.")] = False,
    start: Annotated[
        str, typer.Option("--start", help="solution: train on from where the models stand; scratch: all over again.")
    ] = "solution",
    export: Annotated[
        Path | None, typer.Option("--export", metavar="DIR", help="Write the edited examples there, as Parquet.")
    ] = None,
    study: Function = None,
    device: TrainingDevice = "cpu",
    runs: Runs = DEFAULT_RUNS,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Predict what edits of the training data would do, all made together.

    Beside the prediction stands the sum of what each does alone and, with --really, what training again gives. It is
    kept in the run.
    """
    if start not in ("solution", "scratch"):
        raise StudyError(f"--start is {start!r}, expected solution or scratch.")
    say_loading(quiet)
    influence.attribution.usable(device)
    live, preview = influence.live, influence.validation.preview
    opened = influence.Run.open(run_path(run, runs))
    name = opened.stage(stage or opened.stages[0]).name
    summed = preview.Slice(opened, target)
    asked = [live.Alteration(live.LEAVE_OUT, name, each) for each in leave_out or ()]
    asked += _each(name, live.RELABEL, relabel, str)
    asked += _each(name, live.UPWEIGHT, upweight, float)
    asked += _each(name, live.MASK, mask, _box)
    asked += _each(name, live.STRIKE, strike, str)
    asked += [live.addition(name, path) for path in add or ()]
    set_threads(largest_model(opened), threads)
    options: dict[str, Any] = {"really": really, "start": start, "function": study, "device": device}
    found, remarks = preview.what_if(opened, asked, progress=not quiet, **options)
    for line in [*preview.sentences(found, asked, start, summed), *remarks]:
        say(line)
    if export is not None:
        _export(live.altered_tables(found, asked), export)


def _each(stage: str, kind: str, given: list[str] | None, value_of: Callable[[str], Any]) -> list[Any]:
    """Alterations from texts ID=VALUE."""
    found = []
    for text in given or ():
        name, sign, value = text.partition("=")
        try:
            if not sign:
                raise ValueError
            made = influence.live.Alteration(kind, stage, int(name), value_of(value))
        except ValueError as error:
            raise StudyError(f"--{kind} is {text!r}, expected {FORMS[kind]}.") from error
        found.append(made)
    return found


def _box(text: str) -> tuple[int, ...]:
    found = tuple(int(number) for number in text.split(","))
    if len(found) != 4:
        raise ValueError(text)
    return found


def _export(tables: dict[str, Any], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            path = folder / f"{name}.parquet"
            if path.exists():
                raise RunError(f"{path} is there already. Choose another folder with --export.")
            table.to_parquet(path, index=False)
    except OSError as error:
        raise RunError(f"The edited examples cannot be written to {folder}: {error.strerror}.") from error
    say(f"Written to {folder}: {', '.join(f'{name}.parquet' for name in tables)}.")
