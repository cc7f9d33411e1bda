"""`Check`: a test of a run's scores, and `Finding`: a figure that it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from influence.validation.bench import Bench


@dataclass(frozen=True)
class Finding:
    """One figure of a check.

    Attributes:
        what: the figure's name.
        value, low, high: the figure and its 95 % interval; NaN if there is no interval.
        count: number of retrainings or queries behind it.
        words: the figure in one plain sentence.
        start: "solution", "scratch", or "" if the figure does not depend on it.
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
        name: of the check and of its table.
        asks: the question that it answers.
        share: its share of the time that is left once every check has its fewest, relative to the other checks.
        fewest: pieces (retrainings, computations of scores) that it needs to say something; 0: none of its own.
        measure: bench -> the check's table (CONTRACT.md), with as many rows as fit the bench's time; empty if none do,
            or if the check does not apply to this run.
        findings: table -> its figures.
    """

    name: str
    asks: str
    share: float
    fewest: int
    measure: Callable[[Bench], pd.DataFrame]
    findings: Callable[[pd.DataFrame], list[Finding]]
