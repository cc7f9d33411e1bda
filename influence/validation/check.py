"""What a check is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from influence.validation.bench import Bench


@dataclass(frozen=True)
class Finding:
    """One figure of a check, for people.

    Attributes:
        what: the figure's name.
        value, low, high: it and its 95 % interval; NaN where there is no interval.
        count: of retrainings or queries that it is over.
        words: what it says, one plain sentence.
        start: "solution", "scratch", or "" where that means nothing.
    """

    what: str
    value: float
    low: float
    high: float
    count: int
    words: str
    start: str = ""


@dataclass(frozen=True)
class Check:
    """One way to test the scores of a run.

    Attributes:
        name: also of its table.
        asks: the question that it answers.
        share: of the time, relative to the other checks.
        measure: the bench -> the check's table (CONTRACT.md), of as much as fits the bench's time; empty if nothing
            does or the check means nothing for this run.
        findings: table -> what it says.
    """

    name: str
    asks: str
    share: float
    measure: Callable[[Bench], pd.DataFrame]
    findings: Callable[[pd.DataFrame], list[Finding]]
