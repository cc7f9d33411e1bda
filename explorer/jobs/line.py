"""First come, first served, one at a time: who computes for a page waits for all who came before."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

EVERY = 0.2
"""Seconds between two looks of who waits."""


class Line:
    """A line of threads, of which the first one has its turn."""

    def __init__(self) -> None:
        self._places: list[list[str]] = []  # one-element lists: two of equal words are two places
        self._moved = threading.Condition()

    @contextlib.contextmanager
    def turn(self, words: str, waiting: Callable[[str, int], None]) -> Iterator[None]:
        """Hold the turn for a `with` block, once all who came before have gone, however they ended.

        Args:
            words: what is computed, for those who wait for it.
            waiting: called again and again until then, with the words of who has the turn and how many stand between.
                What it raises gives the place up.
        """
        place = [words]
        with self._moved:
            self._places.append(place)
        try:
            while (first := self._before(place)) is not None:
                waiting(*first)
                with self._moved:
                    if self._places[0] is not place:
                        self._moved.wait(EVERY)
            yield
        finally:
            with self._moved:
                self._places = [other for other in self._places if other is not place]
                self._moved.notify_all()

    def _before(self, place: list[str]) -> tuple[str, int] | None:
        """The words of who has the turn and the number of those between; None: it is this one's."""
        with self._moved:
            number = next(i for i, other in enumerate(self._places) if other is place)
            return (self._places[0][0], number - 1) if number else None
