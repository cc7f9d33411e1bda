"""Progress bars with time left, on standard error, and a progress file for a parent process."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from influence.run.files import PROGRESS

WRITE_INTERVAL = 0.2
"""Shortest time in seconds between two writes of the progress file."""


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
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        with contextlib.suppress(OSError):  # who cannot be told how far it is still gets what was asked for
            temporary.write_text(json.dumps(said), encoding="utf-8")
            temporary.replace(self._path)


class Progress:
    """Bars for a sequence of steps; `seconds` holds how long each took."""

    def __init__(self, visible: bool = True):
        self.seconds: dict[str, float] = {}
        self._told = _ProgressFile(os.environ.get(PROGRESS))
        self._progress = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(elapsed_when_finished=True, compact=True),
            console=Console(stderr=True),
            disable=not visible,
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

    def run(self, name: str, readable: bool = False) -> None:
        """Tell who waits for this process that it computes the run of that name, or that it can be opened."""
        self._told.run(name, readable)

    @contextlib.contextmanager
    def step(self, description: str, total: float | None = None) -> Iterator[Bar]:
        """A bar for the steps of a `with` block; without a total it only pulses until it is done."""
        task = self._progress.add_task(description, total=total)
        self._told.begins(description)
        started = time.perf_counter()
        yield Bar(self._progress, task, self._told)
        self.seconds[description] = time.perf_counter() - started
        self._told.ended(description, self.seconds[description])
        self._progress.update(task, total=total or 1, completed=total or 1)
