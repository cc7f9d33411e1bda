"""How far a computation is, for a program that waits for it."""

from __future__ import annotations

from influence.progress import Progress

__all__ = ["Progress"]
