"""The contract of a page: a module of this package with two functions."""

from __future__ import annotations

from typing import Protocol

from influence.run import Run


class Page(Protocol):
    """Draws itself for a run, and says what its part of the URL may hold."""

    def draw(self, run: Run, /) -> None:
        """Draw the page. Errors of the package become a callout."""

    def allowed(self, run: Run, /) -> dict[str, tuple[str, ...]]:
        """URL key of a widget -> the values that it can take; () for a key that this page, or the run, does not use."""
