"""The slope that retrainings measured: how many times as large real changes of losses are as scores say."""

from __future__ import annotations

import math
from typing import NamedTuple

from influence.run.reading import Run
from influence.run.records import NAT

FEWEST_EXAMPLES = 5
"""Examples that were really left out below which no slope is believed."""
AGREES = 0.7
"""Correlation of predicted and measured changes, at the low end of its interval, from which amounts are shown."""
AS_SAID = 0.5, 2.0
"""Slopes with which nats are shown as they are."""


class Slope(NamedTuple):
    """By what scores are multiplied to be the changes that retraining measures."""

    times: float
    r: float
    """Pearson's, of predicted and measured changes."""
    examples: int
    """Examples that were left out, each alone."""

    @property
    def words(self) -> str:
        return (
            f"Amounts are scores times {self.times:.2g}: so many times as large were the changes when {self.examples} "
            f"examples that lead a list were really left out, one by one (r = {self.r:.2f})."
        )


def slope_of(run: Run, method: str, stage: str) -> Slope | None:
    """The slope that a stage's scores are shown with; None where they are shown as they are, or no slope is known.

    It is needed where the run's scores are an order only, and where they are nats of another size than `AS_SAID`. It is
    known from `upstream validate`, of the method and stage that were checked: trained on from the solution where every
    stage stands at a minimum, else from scratch.
    """
    table, summary = run.validation("leave-one-out"), run.validation("summary")
    if table is None or summary is None or not len(table) or method != run.manifest.default_method:
        return None
    if stage != table["stage"].iloc[0]:
        return None
    start = "solution" if run.manifest.settled else "scratch"
    part = summary[(summary["check"] == "leave-one-out") & (summary["start"] == start)]
    figures = {str(row["what"]).split(", ")[0]: row for row in part.to_dict("records") if "lead a list" in row["what"]}
    if not {"slope", "Pearson r"} <= figures.keys():
        return None
    r, times, count = figures["Pearson r"], float(figures["slope"]["value"]), int(figures["slope"]["count"])
    sure = float(r["low"] if math.isfinite(r["low"]) else r["value"])
    if count < FEWEST_EXAMPLES or not sure >= AGREES or not 0 < times < math.inf:
        return None
    if run.unit(method, stage) == NAT and AS_SAID[0] <= times <= AS_SAID[1]:
        return None
    return Slope(times, float(r["value"]), count)
