"""Counts of scores on a log axis; a tick below the bars, where neither hides the other, for every listed example."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from explorer.charts import template
from explorer.charts.chart import Chart
from explorer.ui import escape, theme
from explorer.view import lists

HEIGHT = 210
STUMP = -0.35
"""Where the log axis begins: one example is a visible stump, ten times as many a fixed step more."""


def histogram(
    scores: np.ndarray, shown: np.ndarray, ids: pd.Series, unit: theme.Unit, noun: str, alt: str, limit: float = 0.0
) -> Chart:
    """All `scores`, and a tick for each of those `shown` (positions), which `ids` name.

    The axis ends at the largest score, or at `limit` if that is larger.
    """
    counts, edges = lists.histogram(scores, limit)
    known, told = np.flatnonzero(counts), words(counts, edges, unit, noun)
    middles = (edges[:-1] + edges[1:]) / 2
    bars = go.Bar(
        x=middles[known] * unit.factor,
        y=counts[known],
        width=float(edges[1] - edges[0]) * 0.94 * unit.factor,
        marker={"color": template.GREY, "opacity": 0.7},
        hovertext=[told[i] for i in known],
    )
    ticks = go.Scatter(
        x=scores[shown] * unit.factor,
        y=np.zeros(len(shown)),
        yaxis="y2",
        mode="markers",
        hovertext=[escape.for_plotly(tick_words(ids.iloc[i], float(scores[i]), unit)) for i in shown],
        marker={
            "symbol": "line-ns",
            "size": 13,
            "line": {"width": 2, "color": [template.SIGNS["helpful" if scores[i] > 0 else "harmful"] for i in shown]},
        },
    )
    most = np.log10(max(1, counts.max()))
    figure = template.figure(
        [bars, ticks],
        HEIGHT,
        {
            "range": [edges[0] * unit.factor, edges[-1] * unit.factor],
            "anchor": "y2",
            "ticksuffix": f" {unit.name}",
            "showticksuffix": "last",
            "showgrid": False,
            "zeroline": True,
            "zerolinecolor": template.QUIET,
        },
        {
            "type": "log",
            "range": [STUMP, most + 0.2],
            "domain": [0.16, 1],
            "dtick": 1,
            "tickformat": ",d",
            "fixedrange": True,
        },
        yaxis2={"domain": [0, 0.12], "range": [-1, 1], "visible": False, "fixedrange": True},
        showlegend=False,
    )
    return Chart(figure, alt)


def words(counts: np.ndarray, edges: np.ndarray, unit: theme.Unit, noun: str) -> list[str]:
    """What each bar holds."""
    return [
        f"{count:,} {noun}{'' if count == 1 else 's'} from {unit.text(start)} to {unit.text(end)} {unit.name}"
        for count, start, end in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]


def tick_words(number: object, score: float, unit: theme.Unit) -> str:
    """Which listed example a tick is."""
    return f"#{number}: {unit.text(score)} {unit.name}"
