"""`Slice`: a number made of all queries of a run, and how it changes with their losses."""

from __future__ import annotations

import numpy as np
import pandas as pd

from influence.errors import RunError, listed
from influence.run.reading import Run
from influence.studies.lookalikes import hint

NOT_PLAIN = ("image", "probabilities")
"""Columns of the queries that hold no plain values."""


class Slice:
    """A number made of all queries: a mean loss, the gap between two groups, or the error of a class.

    Args:
        run: whose queries.
        target: "loss"; "class:NAME", the queries with this label; "gap:COLUMN", the first of a column's two values, in
            alphabetic order, less the second; "error:NAME", the mean probability, over the queries with this label,
            that is not given to it (`influence.targets.error`).

    Attributes:
        words: what it is, in a sentence.
        unit: of its changes, after a blank; empty for a probability.

    Raises:
        RunError: another target; a class or column that the queries do not have; a column without two values; or the
            error of a class in a run that explains something else than the loss of the true class.
    """

    def __init__(self, run: Run, target: str):
        queries = run.queries()
        kind, _, name = target.partition(":")
        self._weights, self.unit = np.full(len(queries), 1 / max(1, len(queries))), " nats"
        self._probabilities: np.ndarray | None = None
        if target == "loss":
            self.words = "the mean loss of all queries"
        elif kind in ("class", "error") and name:
            chosen = _of_class(run, queries, name)
            self._weights = chosen / chosen.sum()
            self.words = f"the mean loss of the {chosen.sum()} queries of class {name!r}"
            if kind == "error":
                self._probabilities, self.unit = _probabilities(queries), ""
                self.words = f"the error of class {name!r} ({chosen.sum()} queries)"
        elif kind == "gap" and name:
            self._weights, self.words = _gap(queries, name)
        else:
            raise RunError(f"The target is {target!r}, expected loss, class:NAME, gap:COLUMN or error:NAME.")

    def of(self, changes: np.ndarray) -> float:
        """The number's change by those of the queries' losses (Q,), nats."""
        changes, p = np.asarray(changes, dtype=np.float64), self._probabilities
        return float(self._weights @ (changes if p is None else -p * np.expm1(-changes)))

    def first(self, changes: np.ndarray) -> float:
        """The same to first order in the changes."""
        changes, p = np.asarray(changes, dtype=np.float64), self._probabilities
        return float(self._weights @ (changes if p is None else p * changes))


def _of_class(run: Run, queries: pd.DataFrame, name: str) -> np.ndarray:
    """(Q,), which queries have this label."""
    labels = queries["label"].astype(str)
    chosen = (labels == name).to_numpy()
    if not chosen.any():
        others = sorted(set(labels))
        known = "" if name not in map(str, run.classes) else ", although the last stage has this class"
        raise RunError(
            f"No query has the label {name!r}{known}. The queries' labels are {listed(map(repr, others))}."
            f"{hint(name, others)}"
        )
    return chosen


def _probabilities(queries: pd.DataFrame) -> np.ndarray:
    """(Q,), the probability that each query's label gets, of which its loss is minus the logarithm."""
    found = np.exp(-queries["loss"].to_numpy(np.float64))
    if "label_probability" not in queries or not np.allclose(found, queries["label_probability"], atol=1e-3):
        raise RunError(
            "The queries' loss is not minus the logarithm of their label's probability, so it does not tell the error "
            "of a class. In Python, influence.targets.error(CLASS) does."
        )
    return found


def _gap(queries: pd.DataFrame, column: str) -> tuple[np.ndarray, str]:
    values = _values(queries, column) if column in queries else []
    if len(values) != 2:
        pairs = [name for name in map(str, queries) if name not in NOT_PLAIN and len(_values(queries, name)) == 2]
        two = f"Columns with two values are {listed(map(repr, pairs))}." if pairs else "No column has two values."
        if column not in queries:
            raise RunError(f"The queries have no column {column!r}. {two}")
        raise RunError(f"Column {column!r} of the queries has {len(values)} values, expected two groups. {two}")
    one, other = ((queries[column].astype(str) == value).to_numpy() for value in values)
    return one / one.sum() - other / other.sum(), f"the gap in mean loss between {values[0]!r} and {values[1]!r}"


def _values(queries: pd.DataFrame, column: str) -> list[str]:
    return sorted(set(queries[column].dropna().astype(str)))
