"""`upstream demo`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from influence.cli.explore import serve
from influence.cli.options import DEFAULT_RUNS, THREADS, NoBrowser, Port, Runs, Threads
from influence.errors import StudyError
from influence.studies.cards import CARDS


def demo(
    study: Annotated[str, typer.Option("--study", help="A built-in study whose data is embedded.")] = "digits",
    runs: Runs = DEFAULT_RUNS,
    port: Port = 8501,
    no_browser: NoBrowser = False,
    threads: Threads = None,
) -> None:
    """Compute an embedded study, and open the explorer on it.

    The study is `digits` or another. Runs that are there are not computed again. The explorer opens as soon as the
    first run's lists stand; the rest is computed meanwhile. Ctrl+C ends both, and the same command goes on.
    """
    shipped = [card.name for card in CARDS.values() if card.shipped]
    if study not in shipped:
        why = "needs data that is not embedded" if study in CARDS else "is not among the built-in studies"
        raise StudyError(
            f"--study {study!r} {why}; the demo takes {', '.join(shipped)}. For others: `upstream precompute`."
        )
    if threads is not None:
        os.environ[THREADS] = str(threads)  # the processes of explorer and computation are started from this one
    serve(runs, f"{study}-{CARDS[study].variants[0]}", port, no_browser, study)
