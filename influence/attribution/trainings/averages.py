"""Mean and spread of the scores of several trainings, and their report.

A list explains one trained model. Another seed gives another model, and another list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from influence.curvature.method import PER_QUERY
from influence.run.records import NAT, ORDER_ONLY


class Averages:
    """Mean and standard deviation of matrices that come one by one (Welford 1962).

    Attributes:
        count: of the matrices so far.
        mean: of each entry, float64.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = np.zeros(())
        self._squares = np.zeros(())

    def add(self, values: np.ndarray) -> None:
        self.count += 1
        off = values - self.mean
        self.mean = self.mean + off / self.count
        self._squares = self._squares + off * (values - self.mean)

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of each entry, with count - 1 in the denominator; NaN of a single matrix."""
        if self.count < 2:
            return np.full_like(self.mean, np.nan)
        return np.sqrt(self._squares / (self.count - 1))


def report_of_trainings(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The report of their mean: the first one's, with what any of them warns of, and `trainings`, their number.

    Of the entries that each query has, as `residuals`, the largest over the trainings.
    """
    told = {
        kind: list(dict.fromkeys(sentence for report in reports for sentence in report[kind]))
        for kind in ("warnings", "order_only", "notes")
    }
    lost = any(report["unit"] == ORDER_ONLY for report in reports)
    return {
        **reports[0],
        **told,
        "unit": ORDER_ONLY if lost else reports[0].get("unit", NAT),
        "stages": [_worst(stages) for stages in zip(*(report["stages"] for report in reports), strict=True)],
        "trainings": len(reports),
        "seconds": sum(report["seconds"] for report in reports),
        "peak_memory": max(report["peak_memory"] for report in reports),
    }


def _worst(stages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = {key: np.max([stage[key] for stage in stages], axis=0).tolist() for key in PER_QUERY if key in stages[0]}
    return {**stages[0], **found}
