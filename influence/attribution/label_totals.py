"""`totals`: scores summed over the examples of each label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from influence.attribution.scores import Scores
from influence.errors import StudyError


def totals(scores: Scores | np.ndarray, labels: Sequence[Any] | pd.Series) -> pd.DataFrame:
    """Scores summed over the examples of each label: any column of a run's table of examples will do.

    Args:
        scores: of `attribute`, or (Q, m), or (m,) of one query; in nats.
        labels: one of every example (m,), in their order. A missing one (None, NaN) is a label of its own.

    Returns:
        A row for each query and label, labels in the order of their first example: query, label, count, total (nats,
        the first-order effect of leaving all of them out, positive = helpful), mean (total / count).

    Raises:
        StudyError: not one label for every example.
    """
    given = scores.values if isinstance(scores, Scores) else scores  # noqa: PD011 - not of pandas
    values = np.atleast_2d(np.asarray(given, dtype=np.float64))
    column = pd.Series(list(labels), dtype=object)
    if values.ndim != 2 or len(column) != values.shape[1]:
        raise StudyError(
            f"There are {len(column)} labels for scores of shape {values.shape}, expected one for every example "
            "(column)."
        )
    codes, names = pd.factorize(column, use_na_sentinel=False)
    counts = np.bincount(codes, minlength=len(names))
    members = np.zeros((len(column), len(names)))
    members[np.arange(len(column)), codes] = 1
    sums = values @ members
    return pd.DataFrame(
        {
            "query": np.repeat(np.arange(len(values)), len(names)),
            "label": np.tile(np.asarray(names, dtype=object), len(values)),
            "count": np.tile(counts, len(values)),
            "total": sums.ravel(),
            "mean": (sums / counts).ravel(),
        }
    )
