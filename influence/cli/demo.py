"""`upstream demo`."""

from __future__ import annotations

from typing import Annotated

import typer

import influence.studies
from influence.cli.explore import serve
from influence.cli.options import DEFAULT_RUNS, NoBrowser, Port, Runs, interruptible
from influence.cli.precompute import compute
from influence.errors import StudyError
from influence.studies.cards import CARDS


def demo(
    study: Annotated[str, typer.Option("--study", help="A built-in study whose data is embedded.")] = "digits",
    runs: Runs = DEFAULT_RUNS,
    port: Port = 8501,
    no_browser: NoBrowser = False,
) -> None:
    """Compute an embedded study, and open the explorer on it.

    The study is `digits` or another. Runs that are there are not computed again.
    """
    shipped = [card.name for card in CARDS.values() if card.shipped]
    if study not in shipped:
        why = "needs data that is not embedded" if study in CARDS else "is not among the built-in studies"
        raise StudyError(
            f"--study {study!r} {why}; the demo takes {', '.join(shipped)}. For others: `upstream precompute`."
        )
    with interruptible():
        exhibits = influence.studies.exhibits_for(study, None, None, 0, {}, {})
        finished = compute(exhibits, runs, None, "cpu", quiet=False)
    serve(runs, str(finished[0].path), port, no_browser)
