"""Positions of examples or queries, as a user gives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
from torch import Tensor

from influence.errors import StudyError, listed


def positions(rows: Iterable[Any], what: str) -> tuple[int, ...]:
    """Whole numbers from 0, each once.

    Args:
        rows: a list, range, set, tensor or array of them.
        what: names them in the error.

    Raises:
        StudyError: there are none, one is given twice, or one is no position.
    """
    given = plain(rows)
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise StudyError(f"{what} is {rows!r}, expected a list of positions.")
    found = [plain(row) for row in given]
    if not found:
        raise StudyError(f"{what} is empty, expected at least one position.")
    if len(found) > 1 and all(isinstance(row, bool) for row in found):
        raise StudyError(f"{what} is a mask of True and False, expected positions: mask.nonzero() has them.")
    wrong = [row for row in found if isinstance(row, bool) or not isinstance(row, Integral) or row < 0]
    if wrong:
        raise StudyError(f"{what} holds {listed(map(repr, wrong))}, expected positions: whole numbers from 0.")
    twice = sorted(row for row, times in Counter(found).items() if times > 1)
    if twice:
        raise StudyError(f"{what} names {listed(map(str, twice))} more than once, expected each once.")
    return tuple(int(row) for row in found)


def plain(value: Any) -> Any:
    """A tensor or array as a number or nested list of numbers; anything else as it is."""
    return value.tolist() if isinstance(value, Tensor | np.ndarray | np.generic) else value
