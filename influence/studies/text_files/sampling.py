"""Reservoir sampling: a uniform sample of a stream of unknown length, in one pass."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def reservoir(items: Iterable[T], count: int, seed: int | list[int]) -> tuple[list[T], int]:
    """A uniform sample of at most `count` items, in their order, and the number of all items.

    Li's algorithm L (1994): draws how many items to skip until the next one that displaces a kept one, so that the
    randomness costs some count * log(items / count) draws. Only `count` items are held.

    Args:
        items: of any number; each is looked at once.
        count: at least 1.
        seed: equal items and seed give an equal sample.
    """
    random, source = np.random.default_rng(seed), enumerate(items)
    kept = list(itertools.islice(source, count))
    threshold, following, total = 1.0, len(kept) - 1, len(kept)
    if len(kept) == count:
        threshold, following = _next(random, threshold, following, count)
    for position, item in source:
        total = position + 1
        if position == following:
            kept[int(random.integers(count))] = position, item
            threshold, following = _next(random, threshold, following, count)
    kept.sort(key=lambda pair: pair[0])
    return [item for _, item in kept], total


def _next(random: np.random.Generator, threshold: float, position: int, count: int) -> tuple[float, int]:
    """(new threshold, next position to keep) after one more item was kept (Li 1994, algorithm L)."""
    # 1 - random() is in (0, 1], whose logarithm exists.
    threshold *= math.exp(math.log(1 - random.random()) / count)
    # Once hardly anything passes any more, the next position lies beyond every file.
    skipped = math.log(1 - random.random()) / math.log1p(-threshold) if 0 < threshold < 1 else math.inf
    return threshold, position + 1 + (int(skipped) if skipped < 2**62 else 2**62)
