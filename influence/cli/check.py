"""`upstream check`."""

from __future__ import annotations

import typer

import influence
from influence.cli.options import DEFAULT_RUNS, NameOfRun, Runs, run_path, told
from influence.errors import printable


def check(run: NameOfRun, runs: Runs = DEFAULT_RUNS) -> None:
    """Verify a run's format and every file's checksum, and name the files that are no part of it."""
    opened = influence.Run.open(run_path(run, runs))
    later = f" Still to be computed: {', '.join(opened.pending)}." if opened.pending else ""
    typer.echo(f"{opened.path}: {len(opened.manifest.files)} files, all as they were written.{later}")
    for name in opened.unlisted():
        typer.echo(f"No part of the run, and never read: {printable(name)}")
    for line in told(opened):
        typer.echo(line)
