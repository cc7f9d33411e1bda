"""How far a computation is, and on how many processors it may run, for a program that waits for it."""

from __future__ import annotations

from influence.progress import Progress
from influence.threads import processors

__all__ = ["Progress", "processors"]
