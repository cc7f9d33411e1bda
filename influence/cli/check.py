"""`upstream check`."""

from __future__ import annotations

import typer

import influence
from influence.cli.options import DEFAULT_RUNS, NameOfRun, Runs, run_path, told


def check(run: NameOfRun, runs: Runs = DEFAULT_RUNS) -> None:
    """Verify a run's format and every file's checksum."""
    opened = influence.Run.open(run_path(run, runs))
    later = f" Still to be computed: {', '.join(opened.pending)}." if opened.pending else ""
    typer.echo(f"{opened.path}: {len(opened.manifest.files)} files, all as they were written.{later}")
    for line in told(opened):
        typer.echo(line)
