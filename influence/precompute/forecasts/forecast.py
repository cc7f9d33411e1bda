"""`Forecast`: what a run will take of time and memory, and how that is extrapolated from samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from influence.attribution.memory import size

SHOWN = 3
"""Steps that are named, the longest."""


@dataclass(frozen=True)
class Forecast:
    """What a run will take on this machine, as busy as it is now.

    Attributes:
        seconds: step -> wall time.
        pace: what a second of the process's processor time took on the wall, in the rehearsal.
        memory: peak resident bytes of the process, PyTorch and the data included.
        disk: bytes of the finished run.
        rehearsed: on how many examples and queries, in words.
    """

    seconds: Mapping[str, float]
    pace: float
    memory: int
    disk: int
    rehearsed: str

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(self.seconds.values())

    def lines(self) -> list[str]:
        """For people."""
        longest = sorted(self.seconds, key=lambda step: -self.seconds[step])[:SHOWN]
        first, *others = [f"{step} ({duration(self.seconds[step])})" for step in longest]
        need = f"time about {duration(self.total)}, memory about {size(self.memory)}"
        return [
            f"  {need}, {size(self.disk)} of disk when it is finished, by a rehearsal on {self.rehearsed}",
            f"  the longest step is {first}" + (f", then {' and '.join(others)}" if others else ""),
            *self._warnings(),
        ]

    def _warnings(self) -> list[str]:
        free = psutil.virtual_memory().available + psutil.Process().memory_info().rss
        if self.memory <= free:
            return []
        return [f"  Warning: this machine has {size(free)} of memory free. Take fewer queries, or a smaller model."]


def growth(small: float, large: float, counts: Sequence[int]) -> float:
    """How many times the seconds `large` something takes that is fixed plus proportional in a count.

    Args:
        small: seconds with `counts[0]`.
        large: seconds with `counts[1]`.
        counts: of the small sample, of the large one, and of the whole.
    """
    low, high, whole = counts
    if not large or high == whole:
        return 1.0
    fixed = (small * high - large * low) / (high - low) if high > low else 0.0
    share = min(1.0, max(0.0, fixed / large))
    return share + (1 - share) * whole / high


def duration(seconds: float) -> str:
    """A time in words: 40 s, 5 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
