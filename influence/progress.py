"""Progress with time left on standard error, as bars or lines, and a progress file for a parent process."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from influence.errors import RunError, printable
from influence.run.files import PROGRESS
from influence.run.plain import replacement

WRITE_INTERVAL = 0.2
"""Shortest time in seconds between two writes of the progress file."""
LINE_INTERVAL = 5.0
"""Seconds between two lines where standard error is no terminal."""


class Bar:
    """One step's bar."""

    def __init__(self, progress: RichProgress, task: TaskID, told: _ProgressFile):
        self._progress, self._task, self._told = progress, task, told

    def advance(self, amount: float = 1) -> None:
        self._progress.advance(self._task, amount)
        self._tell()

    def at(self, completed: float) -> None:
        """Set how far the step is."""
        self._progress.update(self._task, completed=completed)
        self._tell()

    def _tell(self) -> None:
        task = self._progress.tasks[self._task]
        self._told.at(task.completed / task.total if task.total else None)


class _ProgressFile:
    """How far a process is, as JSON in a file: step under way, its `fraction` (0..1 or null), what is `done`, `runs`.

    Each of `done` is [what, seconds]; `runs`: name -> whether it can be opened. The file is replaced in one move,
    so a reader finds it whole.
    """

    def __init__(self, path: str | None):
        self._path = Path(path) if path else None
        self._done: list[list[Any]] = []
        self._runs: dict[str, bool] = {}
        self._step, self._last = "", 0.0

    def begins(self, step: str) -> None:
        self._step = step
        self._write(None)

    def at(self, fraction: float | None) -> None:
        if time.monotonic() - self._last >= WRITE_INTERVAL:
            self._write(fraction)

    def ended(self, step: str, seconds: float) -> None:
        self._done.append([step, round(seconds, 2)])
        self._write(1.0)

    def run(self, name: str, readable: bool) -> None:
        self._runs[name] = readable
        self._write(None)

    def _write(self, fraction: float | None) -> None:
        if self._path is None:
            return
        self._last = time.monotonic()
        said = {"step": self._step, "fraction": fraction, "done": self._done, "runs": self._runs}
        with contextlib.suppress(RunError), replacement(self._path) as new:  # who cannot be told still gets the result
            new.write_text(json.dumps(said), encoding="utf-8")


class _Lines:
    """Progress for a log: a line when the first step begins, every few seconds, and at every step's end."""

    def __init__(self, console: Console, progress: RichProgress):
        self._console, self._progress = console, progress
        self._task: TaskID | None = None
        self._over = threading.Event()
        # A thread of its own, since a step may be silent for long.
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def begins(self, task: TaskID) -> None:
        if self._task is None:
            self._print(self._progress.tasks[task].description)
        self._task = task

    def ended(self, description: str, seconds: float) -> None:
        self._print(f"{description}: {seconds:.1f} s")

    def _tell(self) -> None:
        while not self._over.wait(LINE_INTERVAL):
            task = None if self._task is None else self._progress.tasks[self._task]
            if task is None or task.finished:
                continue
            so_far = "" if task.total is None else f" {task.percentage:.0f} %"
            left = task.time_remaining
            self._print(
                f"{task.description}{so_far}, "
                + (f"{task.elapsed or 0:.0f} s so far" if left is None else f"{left:.0f} s left")
            )

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class Progress:
    """Bars for a sequence of steps, lines where standard error is no terminal; `seconds` holds how long each took.

    A step within another one has its own seconds, which the other one's are without. `clock` gives these seconds; what
    people see goes by the wall clock.
    """

    def __init__(self, visible: bool = True, clock: Callable[[], float] = time.perf_counter):
        self.seconds: dict[str, float] = {}
        self._clock = clock
        # Of each step under way: seconds of the steps within it.
        self._within: list[float] = []
        console = Console(stderr=True)
        self._told = _ProgressFile(os.environ.get(PROGRESS))
        self._progress = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(elapsed_when_finished=True, compact=True),
            console=console,
            disable=not visible or not console.is_terminal,
        )
        self._lines = _Lines(console, self._progress) if visible and not console.is_terminal else None

    def __enter__(self) -> Progress:
        self._progress.start()
        if self._lines:
            self._lines.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        if self._lines:
            self._lines.stop()

    def say(self, text: str) -> None:
        """A line above the bars."""
        if self._lines or not self._progress.disable:
            self._progress.console.print(printable(text, kept="\n"), markup=False, highlight=False, soft_wrap=True)

    def run(self, name: str, readable: bool = False) -> None:
        """Write into the progress file that the run of that name is computed, and whether it can be opened yet."""
        self._told.run(name, readable)

    @contextlib.contextmanager
    def step(self, description: str, total: float | None = None) -> Iterator[Bar]:
        """A bar for the steps of a `with` block; without a total it only pulses until it is done."""
        task = self._progress.add_task(printable(description), total=total)
        self._told.begins(description)
        if self._lines:
            self._lines.begins(task)
        started, depth = self._clock(), len(self._within)
        self._within.append(0.0)
        try:
            yield Bar(self._progress, task, self._told)
            took = self._clock() - started
            self.seconds[description] = took - self._within[depth]
        finally:
            del self._within[depth:]
        if self._within:
            self._within[-1] += took
        self._told.ended(description, self.seconds[description])
        self._progress.update(task, total=total or 1, completed=total or 1)
        if self._lines:
            self._lines.ended(printable(description), self.seconds[description])
