"""An embedded study, computed in a process of its own: started once whoever asks, watched and stopped by anybody.

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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock
import psutil

from explorer.jobs import turn
from explorer.jobs.process import command as upstream
from explorer.jobs.process import environment
from influence.errors import RunError
from influence.run import lock_of, own_folder, parsed_json, read_plain, remedy, replacement, sweep

STUDY = "digits"
"""The one that the start page offers."""
NONE, RUNNING, STOPPED, FAILED = "none", "running", "stopped", "failed"
PATIENCE = 5
"""Seconds that a process has to end by itself when it is stopped, and that a second visitor waits for the first."""
LARGEST_FILE = 2**20
"""Bytes of what the process writes that are read."""
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
    study: str = STUDY
    runs: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    """The runs that it computes; true: it can be opened."""


def status(root: Path) -> Status:
    """What the computation for the folder of runs `root` is doing; NONE if there is none, or it has finished."""
    process = _process(root)
    known = Status(study=str(_json(_folder(root) / "process.json").get("study", STUDY)), runs=_runs(root))
    if process is not None:
        step, fraction, done = _told(root)
        seconds = max(0.0, time.time() - process.create_time())
        return dataclasses.replace(known, state=RUNNING, step=step, fraction=fraction, done=done, seconds=seconds)
    try:
        log = read_plain(_folder(root) / "log.txt", LARGEST_FILE).decode(errors="replace").strip()
        (_folder(root) / "process.json").stat()
    except OSError:
        return Status()
    if "Finished:" in log:
        return known
    last = log.splitlines()[-1] if log else ""
    if last in ("", "KeyboardInterrupt", "Aborted.") or last.startswith("Interrupted."):
        return dataclasses.replace(known, state=STOPPED)
    said = re.search(r"^Error: (.*)", log, re.MULTILINE | re.DOTALL)
    return dataclasses.replace(known, state=FAILED, message=(said[1] if said else last)[:LONGEST])


def start(root: Path, study: str = STUDY) -> None:
    """Start the computation of an embedded study, or resume it; nothing happens if it is running already.

    Raises:
        RunError: the folder cannot be written, no process can be started, or something else is being computed there.
    """
    folder = _folder(root)
    try:
        own_folder(folder)
        with lock_of(folder / "lock", PATIENCE):
            if _process(root) is None:
                sweep(folder)
                _start(root, folder, study)
            elif (other := status(root).study) != study:
                raise RunError(
                    f"The study {other} is being computed into {root} just now. Wait for it, or choose another folder "
                    "with --runs."
                )
    except filelock.Timeout:
        raise RunError("Somebody else is starting it just now. Wait a moment and look again.") from None
    except OSError as error:
        raise RunError(
            f"Nothing can be computed into {root}: {remedy(error)}, or start the explorer with another folder: "
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


def command(root: Path, study: str) -> list[str]:
    """What is run."""
    return upstream(["precompute", study, "--runs", str(root), "--quiet"])


def _start(root: Path, folder: Path, study: str) -> None:
    def under_way(words: str) -> None:
        raise RunError(f"{words} is under way, and one computation at a time: wait until it has ended, or cancel it.")

    with turn.held(root, f"upstream precompute {study}", under_way) as files, (folder / "log.txt").open("wb") as log:
        (folder / "progress.json").unlink(missing_ok=True)
        process = subprocess.Popen(
            command(root, study),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment(folder / "progress.json"),
            pass_fds=files,
        )
    try:
        born = psutil.Process(process.pid).create_time()
    except psutil.NoSuchProcess:
        born = 0.0
    known = {"pid": process.pid, "born": born, "study": study}
    try:
        with replacement(folder / "process.json") as new:
            new.write_text(json.dumps(known), encoding="utf-8")
    except RunError:  # nobody could see or stop it
        process.terminate()
        process.wait()
        raise
    # Whoever started a process has to ask how it ended; until then the system keeps it as if it lived.
    threading.Thread(target=process.wait, daemon=True).start()


def _folder(root: Path) -> Path:
    return turn.folder(root)


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


def _runs(root: Path) -> dict[str, bool]:
    found = _json(_folder(root) / "progress.json").get("runs")
    return {str(name): readable is True for name, readable in found.items()} if isinstance(found, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = parsed_json(read_plain(path, LARGEST_FILE))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
