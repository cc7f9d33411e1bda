"""Work that takes long: an `upstream` command in a process of its own, which outlives reruns and can be cancelled.

One a run at a time, known to all visitors of this server: a second one who asks for the same joins the first.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import influence.live
from influence.run import PROGRESS

RUNNING, FINISHED, FAILED, CANCELLED = "running", "finished", "failed", "cancelled"
STOP_SECONDS = 5.0
"""Seconds that a cancelled command has to end by itself."""
_ERROR = "Error: "


class Job:
    """One command under way, or ended.

    Args:
        what: it computes, a name by which pages know it.
        command: to run.
        seconds: that it will take, if that is known.

    Attributes:
        state: RUNNING, FINISHED, FAILED or CANCELLED.
        problem: what went wrong, in words; "" if nothing did.
    """

    def __init__(self, what: str, command: Sequence[str], seconds: float = 0.0):
        self.what, self.seconds = what, seconds
        self.state, self.problem, self._said = RUNNING, "", ""
        self._began, self._ended = time.monotonic(), 0.0
        self._place = tempfile.TemporaryDirectory(prefix="upstream-job-")
        self._process = subprocess.Popen(
            command,
            env=environment(self._progress_file),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @property
    def running(self) -> bool:
        return self.state == RUNNING

    @property
    def elapsed(self) -> float:
        """Seconds since it began, until it ended."""
        return (self._ended or time.monotonic()) - self._began

    @property
    def step(self) -> str:
        """The step under way, in words."""
        return str(self._progress().get("step") or "Starting")

    @property
    def share(self) -> float:
        """How much is done, 0..1, as far as that can be known: by time, else of the step under way."""
        if self.seconds:
            return min(self.elapsed / self.seconds, 0.99)
        fraction = self._progress().get("fraction")
        return min(max(float(fraction), 0.0), 1.0) if isinstance(fraction, (int, float)) else 0.0

    @property
    def _progress_file(self) -> Path:
        return Path(self._place.name) / "progress.json"

    def _progress(self) -> dict[str, Any]:
        try:
            found = json.loads(self._progress_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def cancel(self) -> None:
        """End the command. What it finished is kept, as after Ctrl+C."""
        if self.running:
            self.state = CANCELLED
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._watcher.join(STOP_SECONDS)

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, at most so long; whether it has."""
        self._watcher.join(seconds)
        return not self._watcher.is_alive()

    def _watch(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.startswith(_ERROR):
                self._said = line.rstrip().removeprefix(_ERROR)
        code = self._process.wait()
        self._ended = time.monotonic()
        if self.state == RUNNING:
            self.problem = "" if code == 0 else self._said or _ended_by(code)
            self.state = FAILED if code else FINISHED


_jobs: dict[Path, Job] = {}
_lock = threading.Lock()


def of(run: Path) -> Job | None:
    """The job of the run in that folder, under way or the last that ended; None if there was none."""
    return _jobs.get(run)


def begin(run: Path, what: str, arguments: Sequence[str], seconds: float = 0.0) -> Job:
    """Begin `upstream ARGUMENTS` for the run in that folder; if one is under way for it, that one."""
    with _lock:
        found = _jobs.get(run)
        if found is None or not found.running:
            found = _jobs[run] = Job(what, command(arguments), seconds)
        return found


def forget(run: Path) -> None:
    """Forget a job that has ended: its message was read."""
    with _lock:
        if (job := _jobs.get(run)) is not None and not job.running:
            del _jobs[run]


def command(arguments: Sequence[str]) -> list[str]:
    """The command line of `upstream ARGUMENTS` with this Python; nothing is imported from the current folder (-P)."""
    return [sys.executable, "-P", "-m", "influence", *arguments]


def environment(told: Path) -> dict[str, str]:
    """Of this process, with the file in which progress is told; one processor is left to draw pages."""
    threads = str(max(1, influence.live.processors() - 1))
    here = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    return {"OMP_NUM_THREADS": threads, **os.environ, PROGRESS: str(told), "PYTHONPATH": path}


def _ended_by(code: int) -> str:
    if code < 0:
        return f"The system ended the computation (signal {-code}); perhaps memory ran out."
    return f"The computation ended with code {code} and gave no reason. Run its command in a terminal to see more."


@atexit.register
def _end_all() -> None:
    for job in list(_jobs.values()):
        job.cancel()
