"""The commands, and the errors that end them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings

import typer

from influence.cli.asking.query import query
from influence.cli.check import check
from influence.cli.console import say
from influence.cli.demo import demo
from influence.cli.edits.leave_out import leave_out
from influence.cli.edits.several import Several
from influence.cli.edits.what_if import what_if
from influence.cli.explore import explore
from influence.cli.import_scores import import_scores
from influence.cli.lists import methods, runs, studies
from influence.cli.precompute import precompute
from influence.cli.validate import validate
from influence.cli.verify import verify
from influence.errors import UpstreamError

app = typer.Typer(
    help="Which pretraining examples made a finetuned model right or wrong? Start with `upstream demo`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (demo, precompute, studies, methods, runs, check, validate, verify, leave_out, query, explore):
    app.command()(command)
app.command("what-if", cls=Several)(what_if)
app.command("import")(import_scores)


def run() -> None:
    """Run what the arguments ask for; errors that the user can mend are printed, with exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal need not know every letter of a run
    warnings.simplefilter("ignore", FutureWarning)  # of libraries, to those who write code for them
    try:
        app()
    except UpstreamError as problem:
        _end(str(problem))
    except OSError as problem:  # what is printed goes into a full disk, say
        where = f" ({problem.filename})" if problem.filename else ""
        _end(f"{problem.strerror or problem}{where}. Finished steps are kept: mend that and give the same command.")


def _end(problem: str) -> None:
    with contextlib.suppress(OSError):
        say(f"Error: {' '.join(problem.splitlines())}", err=True, colour="red")
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.exit(2)
    os._exit(2)  # Python would try once more to print what cannot be, and make 120 of the code
