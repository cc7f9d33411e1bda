"""The turn of a folder of runs: whoever computes there holds a lock on one file, which ends with its process.

A process inherits the lock that was taken for it, so the lock outlives a server that was killed, and no longer than
what that server had started.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from explorer.jobs.line import EVERY
from influence.errors import RunError
from influence.run import own_folder, plain_file

LONGEST = 300
"""Bytes of the words in the file."""


def folder(root: Path) -> Path:
    """Where the folder of runs `root` keeps what is known of computations that pages started."""
    return root / ".computing"


@contextlib.contextmanager
def held(root: Path, words: str, waiting: Callable[[str], None]) -> Iterator[tuple[int, ...]]:
    """Hold the turn of the folder of runs `root` for a `with` block; a process that gets the file keeps it to its end.

    Args:
        root: the folder of runs.
        words: what is computed, for those who wait for it.
        waiting: called again and again as long as another process has the turn, with its words. What it raises gives
            up.

    Yields:
        The file to hand to that process (`pass_fds`); nothing where none can be locked: what computes there will say
        why it cannot write.
    """
    try:
        file = _opened(root)
    except (OSError, RunError):
        yield ()
        return
    try:
        while not _locked(file):
            waiting(os.pread(file, LONGEST, 0).decode(errors="replace") or "another computation")
            time.sleep(EVERY)
        os.ftruncate(file, 0)
        os.pwrite(file, words.encode(errors="replace")[:LONGEST], 0)
        yield (file,)
    finally:
        os.close(file)


def _opened(root: Path) -> int:
    if not root.is_dir():
        raise FileNotFoundError(root)
    own_folder(folder(root))
    return plain_file(folder(root) / "turn", os.O_RDWR | os.O_CREAT)


def _locked(file: int) -> bool:
    """Whether the lock is ours; also where the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
