"""Threads for a computation: one for a small model, else as many as there are processors for this process.

Only commands choose. Who calls the Python API keeps the number that `torch.set_num_threads` was given.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

SMALL = 10_000
"""Parameters of a model up to which one thread is used: sharing its products out takes longer than they take."""


def set_threads(parameters: int, chosen: int | None = None) -> int:
    """Set PyTorch's number of threads to `chosen`, or to a number that suits a model of so many parameters.

    That number is never larger than `processors()` or `OMP_NUM_THREADS`. Returns the number that was set.
    """
    import torch  # takes seconds, and the command line is there before

    if chosen is None:
        chosen = 1 if parameters <= SMALL else min(processors(), torch.get_num_threads())
    torch.set_num_threads(chosen)
    return chosen


def processors(root: Path = Path("/")) -> int:
    """How many processors this process may use, by its affinity and by the quota of its control groups, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, quota(root))))


def quota(root: Path = Path("/")) -> float:
    """Processors whose time the control groups of this process allow, infinitely many where there is no such limit.

    `root` is the folder of `proc` and `sys`. Both versions of control groups are read (Linux, `cgroups(7)`).
    """
    allowed = [math.inf]
    for group in _groups(root):
        with contextlib.suppress(OSError, ValueError):
            limit, period = (group / "cpu.max").read_text().split()  # "max 100000": no limit
            allowed.append(float(limit) / float(period))
        with contextlib.suppress(OSError, ValueError):
            limit, period = ((group / f"cpu.cfs_{of}_us").read_text() for of in ("quota", "period"))
            if float(limit) > 0:  # -1: no limit
                allowed.append(float(limit) / float(period))
    return min(allowed)


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups that limit this process's time: its own, and those around it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Version 2 has one tree, version 1 one for each controller. In a container the path may be the host's.
        top = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        inside = PurePosixPath(path).relative_to("/").parts
        yield from (top.joinpath(*inside[:depth]) for depth in range(len(inside) + 1))
