"""`upstream check`."""

from __future__ import annotations

import influence
from influence.cli.console import say
from influence.cli.options import DEFAULT_RUNS, NameOfRun, Runs, run_path, told


def check(run: NameOfRun, runs: Runs = DEFAULT_RUNS) -> None:
    """Verify a run's format and every file's checksum, and name the files that are no part of it."""
    opened = influence.Run.open(run_path(run, runs))
    later = f" Still to be computed: {', '.join(opened.pending)}." if opened.pending else ""
    say(f"{opened.path}: {len(opened.manifest.files)} files, all as they were written.{later}")
    for name in opened.unlisted():
        say(f"No part of the run, and never read: {name}")
    for line in told(opened):
        say(line)
