"""Work that takes long: an `upstream` command in a process of its own, which outlives reruns and can be cancelled.

One a run, known to all visitors of this server: a second one who asks for the same joins the first. Of all runs one is
computed at a time, in the order in which they were asked for; the others wait.
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
from explorer.jobs import turn
from explorer.jobs.line import Line
from influence.run import PROGRESS

WAITING, RUNNING, FINISHED, FAILED, CANCELLED = "waiting", "running", "finished", "failed", "cancelled"
STOP_SECONDS = 5.0
"""Seconds that a cancelled command has to end by itself."""
_ERROR = "Error: "
_line = Line()


class _CancelledError(Exception):
    """Who waited for a turn does not want it any more."""


class Job:
    """One command that waits, is under way, or has ended.

    Args:
        run: the folder of the run that it is about.
        what: it computes, a name by which pages know it.
        arguments: of `upstream`.
        seconds: that it will take, if that is known.

    Attributes:
        state: WAITING, RUNNING, FINISHED, FAILED or CANCELLED.
        waits_for: what is computed before it, in words.
        problem: what went wrong, in words; "" if nothing did.
    """

    def __init__(self, run: Path, what: str, arguments: Sequence[str], seconds: float = 0.0):
        self.what, self.seconds = what, seconds
        self.state, self.waits_for, self.problem = WAITING, "", ""
        self._root, self._words = run.parent, " ".join(["upstream", *arguments[:1], run.name])
        self._command = command(arguments)
        self._began, self._ended = time.monotonic(), 0.0
        self._process: subprocess.Popen[str] | None = None
        self._told: Path | None = None
        self._changing = threading.Lock()
        self._thread = threading.Thread(target=self._in_turn, daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether it neither waits nor runs."""
        return self.state not in (WAITING, RUNNING)

    @property
    def running(self) -> bool:
        return self.state == RUNNING

    @property
    def elapsed(self) -> float:
        """Seconds since it began, until it ended; as long as it waits, since it was asked for."""
        return (self._ended or time.monotonic()) - self._began

    @property
    def step(self) -> str:
        """The step under way, in words."""
        if self.state == WAITING:
            return f"Waits for {self.waits_for or 'its turn'}"
        return str(self._progress().get("step") or "Starting")

    @property
    def share(self) -> float:
        """How much is done, 0..1, as far as that can be known: by time, else of the step under way."""
        if self.state == WAITING:
            return 0.0
        if self.seconds:
            return min(self.elapsed / self.seconds, 0.99)
        fraction = self._progress().get("fraction")
        return min(max(float(fraction), 0.0), 1.0) if isinstance(fraction, (int, float)) else 0.0

    def _progress(self) -> dict[str, Any]:
        if self._told is None:
            return {}
        try:
            found = json.loads(self._told.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def cancel(self) -> None:
        """End the command, or let it not begin. What it finished is kept, as after Ctrl+C."""
        with self._changing:
            if self.over:
                return
            self.state = CANCELLED
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._thread.join(STOP_SECONDS)

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, at most so long; whether it has."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _in_turn(self) -> None:
        try:
            with (
                _line.turn(self._words, self._waits),
                turn.held(self._root, self._words, self._waits) as files,
                tempfile.TemporaryDirectory(prefix="upstream-job-", ignore_cleanup_errors=True) as place,
            ):
                self._told = Path(place) / "progress.json"
                self._compute(files)
        except _CancelledError:
            pass
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._end(f"It could not be started ({error}).")
        self._ended = time.monotonic()

    def _waits(self, words: str, more: int = 0) -> None:
        if self.state == CANCELLED:
            raise _CancelledError
        self.waits_for = f"{words} and {more} more" if more else words

    def _compute(self, files: tuple[int, ...]) -> None:
        assert self._told is not None
        with self._changing:
            if self.over:
                return
            self._process = subprocess.Popen(
                self._command,
                env=environment(self._told),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                pass_fds=files,
            )
            self.state, self._began = RUNNING, time.monotonic()
        said = ""
        with self._process as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith(_ERROR):
                    said = line.rstrip().removeprefix(_ERROR)
        code = process.returncode
        self._end("" if code == 0 else said or _ended_by(code))

    def _end(self, problem: str) -> None:
        with self._changing:
            if not self.over:
                self.problem, self.state = problem, FAILED if problem else FINISHED


_jobs: dict[Path, Job] = {}
_lock = threading.Lock()


def of(run: Path) -> Job | None:
    """The job of the run in that folder that waits, runs, or ended last; None if there was none."""
    return _jobs.get(run)


def begin(run: Path, what: str, arguments: Sequence[str], seconds: float = 0.0) -> Job:
    """Begin `upstream ARGUMENTS` for the run in that folder, in its turn; if one waits or runs for it, that one."""
    with _lock:
        found = _jobs.get(run)
        if found is None or found.over:
            found = _jobs[run] = Job(run, what, arguments, seconds)
        return found


def forget(run: Path) -> None:
    """Forget a job that has ended: its message was read."""
    with _lock:
        if (job := _jobs.get(run)) is not None and job.over:
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
