"""The subject of a view: a prediction of the run, or a new question to its model."""

from __future__ import annotations

import dataclasses

import pandas as pd

from influence.run import Run


@dataclasses.dataclass(frozen=True, eq=False)
class Query:
    """One row as in the run's table of queries, and its number there."""

    row: pd.Series
    position: int | None = None
    """None for a new question, which is in no table."""


def stored(run: Run, position: int) -> Query:
    """The prediction of the run at `position`."""
    return Query(run.queries().iloc[position], position)
