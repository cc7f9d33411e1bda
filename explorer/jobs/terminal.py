"""A terminal: how far the computation of an embedded study is, and the server's log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import influence.live
from explorer.jobs import demo
from influence.errors import RunError, printable

EVERY = 0.1
"""Seconds between two looks."""


def until_readable(root: Path, run: str) -> None:
    """Show how far the computation into `root` is until its run of that name can be opened.

    Raises:
        RunError: the computation ended before.
    """
    with influence.live.Progress() as bars, contextlib.ExitStack() as under_way:
        step = None
        while not (now := demo.status(root)).runs.get(run):
            if now.state != demo.RUNNING:
                raise RunError(now.message or "The computation was stopped. Finished steps are kept.")
            if now.step != step:
                under_way.close()
                step = now.step
                bar = under_way.enter_context(bars.step(step or f"reading the study {now.study}", total=1))
            bar.at(now.fraction or 0.0)
            time.sleep(EVERY)


def until_ended(root: Path) -> None:
    """Say that more is coming, and how it ended; nothing if everything is there already."""
    if demo.status(root).state != demo.RUNNING:
        return
    sys.stdout.write("The rest is computed while you look; the page shows it as it comes.\n")
    sys.stdout.flush()
    while (now := demo.status(root)).state == demo.RUNNING:
        time.sleep(EVERY)
    if now.state == demo.FAILED:
        sys.stderr.write(f"Error: {printable(now.message)}\n")
    elif now.state == demo.NONE:
        sys.stdout.write("Everything is computed.\n")
        sys.stdout.flush()


def stop(root: Path) -> None:
    """End the computation, if it is under way; what it leaves undone is said."""
    demo.stop(root)
    if demo.status(root).state == demo.STOPPED:
        sys.stderr.write("Interrupted. Finished steps are kept: the same command goes on.\n")


def show_log(lines: Iterable[str]) -> None:
    """Show the server's log line by line; what it says of a run, in tracebacks too, the terminal does not obey."""
    for line in lines:
        sys.stderr.write(printable(line, kept="\n\t"))
        sys.stderr.flush()
