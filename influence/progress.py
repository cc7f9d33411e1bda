"""Progress bars with time left, on standard error; or lines of JSON there, for a process that draws its own."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

LINES = "UPSTREAM_PROGRESS_LINES"
"""Environment variable; where it is set, bars are lines of JSON `{"step", "done", "total"}`, total null if unknown."""


class Bar:
    """One step's bar."""

    def __init__(self, progress: RichProgress, task: TaskID):
        self._progress, self._task = progress, task
        self._tell()

    def advance(self, amount: float = 1) -> None:
        self._progress.advance(self._task, amount)
        self._tell()

    def at(self, completed: float) -> None:
        """Set how far the step is."""
        self._progress.update(self._task, completed=completed)
        self._tell()

    def _tell(self) -> None:
        if LINES in os.environ:
            task = next(task for task in self._progress.tasks if task.id == self._task)
            line = {"step": task.description, "done": task.completed, "total": task.total}
            sys.stderr.write(json.dumps(line) + "\n")
            sys.stderr.flush()


class Progress:
    """Bars for a sequence of steps; `seconds` holds how long each took."""

    def __init__(self, visible: bool = True):
        self.seconds: dict[str, float] = {}
        self._progress = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(elapsed_when_finished=True, compact=True),
            console=Console(stderr=True),
            disable=not visible or LINES in os.environ,
        )

    def __enter__(self) -> Progress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """A line above the bars."""
        if not self._progress.disable:
            self._progress.console.print(text, markup=False, highlight=False)

    @contextlib.contextmanager
    def step(self, description: str, total: float | None = None) -> Iterator[Bar]:
        """A bar for the steps of a `with` block; without a total it only pulses until it is done."""
        task = self._progress.add_task(description, total=total)
        started = time.perf_counter()
        yield Bar(self._progress, task)
        self.seconds[description] = time.perf_counter() - started
        self._progress.update(task, total=total or 1, completed=total or 1)
