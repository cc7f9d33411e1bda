"""`Forecast`: what a run will take of time and memory, and how that is extrapolated from samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
        pieces: step -> the pieces that workers share out; a step that is not named is the driver's.
    """

    seconds: Mapping[str, float]
    pace: float
    memory: int
    disk: int
    rehearsed: str
    pieces: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(self.seconds.values())

    def shared_out(self, workers: int) -> float:
        """Seconds with so many workers, each as fast as this process."""
        rounds = {step: math.ceil(count / workers) / count for step, count in self.pieces.items()}
        return sum(seconds * rounds.get(step, 1.0) for step, seconds in self.seconds.items())

    def line_of_workers(self, counts: Sequence[int]) -> str:
        """How long it takes with so many workers, for people."""
        times = ", ".join(f"{duration(self.shared_out(count))} with {count:,}" for count in counts)
        rest = sum(seconds for step, seconds in self.seconds.items() if step not in self.pieces)
        return (
            f"  workers: about {times}, each with about {size(self.memory)} of memory; what they cannot share takes "
            f"{duration(rest)}"
        )

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
