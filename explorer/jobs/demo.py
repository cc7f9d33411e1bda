"""The embedded study, computed in a process of its own: started once whoever asks, watched and stopped by anybody.

What is known of that process stands in a hidden folder beside the runs, so a page that was closed, another visitor and
a server that was started again all see the same.
"""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import filelock
import psutil

from explorer.jobs.process import command as upstream
from explorer.jobs.process import environment
from influence.errors import RunError

STUDY = "digits"
NAMES = ("digits-frozen", "digits-updated")
"""The runs that it makes."""
NONE, RUNNING, STOPPED, FAILED = "none", "running", "stopped", "failed"
PATIENCE = 5
"""Seconds that a process has to end by itself when it is stopped, and that a second visitor waits for the first."""
LONGEST = 600
"""Characters of a failure's message that are shown."""


@dataclasses.dataclass(frozen=True)
class Status:
    """How far the computation is. `fraction` of the step under way is 0..1, or None where nobody knows."""

    state: str = NONE
    step: str = ""
    fraction: float | None = None
    done: tuple[tuple[str, float], ...] = ()
    """Finished steps and the seconds that each took."""
    seconds: float = 0.0
    """Since it was started, while it runs."""
    message: str = ""
    """Why it failed."""


def status(root: Path) -> Status:
    """What the computation for the folder of runs `root` is doing; NONE if there is none, or it has finished."""
    process = _process(root)
    if process is not None:
        return Status(RUNNING, *_told(root), seconds=max(0.0, time.time() - process.create_time()))
    try:
        log = (_folder(root) / "log.txt").read_text(encoding="utf-8", errors="replace").strip()
        (_folder(root) / "process.json").stat()
    except OSError:
        return Status()
    if "Finished:" in log:
        return Status()
    last = log.splitlines()[-1] if log else ""
    if last in ("", "KeyboardInterrupt", "Aborted.") or last.startswith("Interrupted."):
        return Status(STOPPED)
    said = re.search(r"^Error: (.*)", log, re.MULTILINE | re.DOTALL)
    return Status(FAILED, message=(said[1] if said else last)[:LONGEST])


def start(root: Path) -> None:
    """Start the computation, or resume it; nothing happens if it is running already.

    Raises:
        RunError: the folder cannot be written, or no process can be started.
    """
    folder = _folder(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / "lock", timeout=PATIENCE):
            if _process(root) is None:
                _start(root, folder)
    except filelock.Timeout:
        raise RunError("Somebody else is starting it just now. Wait a moment and look again.") from None
    except OSError as error:
        raise RunError(
            f"Nothing can be computed into {root}: {error.strerror or error}. Start the explorer with another folder: "
            "`upstream explore --runs FOLDER`."
        ) from error


def stop(root: Path) -> None:
    """Stop the computation; its finished steps are kept."""
    process = _process(root)
    if process is None:
        return
    try:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE)
        except psutil.TimeoutExpired:
            process.terminate()
            process.wait(PATIENCE)
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        pass


def command(root: Path) -> list[str]:
    """What is run."""
    return upstream(["precompute", STUDY, "--runs", str(root), "--quiet"])


def _start(root: Path, folder: Path) -> None:
    (folder / "progress.json").unlink(missing_ok=True)
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command(root), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=folder,
            env=environment(folder / "progress.json"),
        )  # fmt: skip
    try:
        born = psutil.Process(process.pid).create_time()
    except psutil.NoSuchProcess:
        born = 0.0
    (folder / "process.json").write_text(json.dumps({"pid": process.pid, "born": born}), encoding="utf-8")
    # Whoever started a process has to ask how it ended; until then the system keeps it as if it lived.
    threading.Thread(target=process.wait, daemon=True).start()


def _folder(root: Path) -> Path:
    return root / ".computing"


def _process(root: Path) -> psutil.Process | None:
    """The process that computes, if it lives; its number alone could have passed on to another."""
    known = _json(_folder(root) / "process.json")
    try:
        process = psutil.Process(int(known["pid"]))
        same = abs(process.create_time() - float(known["born"])) < 0.5 and process.status() != psutil.STATUS_ZOMBIE
        return process if same else None
    except (psutil.Error, KeyError, TypeError, ValueError):
        return None


def _told(root: Path) -> tuple[str, float | None, tuple[tuple[str, float], ...]]:
    """Step, fraction and finished steps, as the process wrote them."""
    said = _json(_folder(root) / "progress.json")
    try:
        done = tuple((str(step), float(seconds)) for step, seconds in said.get("done", []))
        fraction = said.get("fraction")
        return str(said.get("step", "")), None if fraction is None else min(max(float(fraction), 0.0), 1.0), done
    except (TypeError, ValueError):
        return "", None, ()


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
