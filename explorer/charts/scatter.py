"""Predicted changes of losses against those that were measured, a point a pair of example and prediction."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from explorer.charts import template
from explorer.charts.chart import Chart
from explorer.ui import escape, theme

MOST_PAIRS = 900
"""Points that are drawn: half of them the largest predictions, the others at random."""
HEIGHT = 440
KINDS = {
    "helpful": ("leads a list as helpful", "triangle-up", template.HELPFUL),
    "harmful": ("leads one as harmful", "triangle-down", template.HARMFUL),
    "random": ("drawn at random", "circle", template.GREY),
}
"""Why an example was left out: in words, and how its points look."""


def sampled(pairs: pd.DataFrame, most: int = MOST_PAIRS) -> pd.DataFrame:
    """At most so many rows: the largest predictions, and others at random, the same each time."""
    if len(pairs) <= most:
        return pairs
    strength = pairs["predicted"].abs().to_numpy()
    strongest = np.argpartition(-strength, most // 2)[: most // 2]
    rest = np.setdiff1d(np.arange(len(pairs)), strongest)
    drawn = np.random.default_rng(0).choice(rest, most - most // 2, replace=False)
    return pairs.iloc[np.sort(np.concatenate([strongest, drawn]))]


def scatter(pairs: pd.DataFrame, words: list[str], unit: theme.Unit, measured: theme.Unit, r: float) -> Chart:
    """Points of `predicted` (in `unit`) against `measured`, each with its own `words`; `r` is their correlation.

    Columns of `pairs`: `kind`, `predicted`, `measured` (nats). A point's `customdata` is its row. Both axes have one
    scale; where scores have no unit, each has its own, and nothing is drawn "as predicted".
    """
    across, up = (_largest(pairs[name]) * of.factor for name, of in (("predicted", unit), ("measured", measured)))
    if unit.name:
        across = up = max(across, up)
    traces = [_as_predicted(across)] if unit.name else []
    for kind in dict.fromkeys(pairs["kind"]):
        rows = np.flatnonzero(pairs["kind"] == kind)
        name, symbol, colour = KINDS.get(kind, (escape.for_plotly(kind), "circle", template.GREY))
        traces.append(
            go.Scatter(
                x=pairs["predicted"].to_numpy()[rows] * unit.factor,
                y=pairs["measured"].to_numpy()[rows] * measured.factor,
                mode="markers",
                name=name,
                customdata=rows,
                hovertext=[escape.for_plotly(words[row]) for row in rows],
                marker={
                    "symbol": symbol,
                    "color": colour,
                    "size": 9 if symbol != "circle" else 7,
                    "opacity": 0.75,
                    "line": {"color": template.BACKGROUND, "width": 0.5},
                },
            )
        )
    title = f"predicted change of the loss, {unit.name}" if unit.name else "score, which has no unit"
    figure = template.figure(
        traces,
        HEIGHT,
        {"range": [-across, across], "title_text": title},
        {
            "range": [-up, up],
            "zeroline": True,
            "zerolinecolor": template.QUIET,
            "title_text": f"measured change, {measured.name}",
        },
    )
    said = f", r = {r:.2f}" if math.isfinite(r) else ""
    alt = f"Scatter of {len(pairs):,} predicted against measured changes{said}; a table is at the end of the page."
    return Chart(figure, alt)


def _as_predicted(limit: float) -> go.Scatter:
    line = {"dash": "4px,4px", "color": template.QUIET, "width": 1.25}
    return go.Scatter(
        x=[-limit, limit], y=[-limit, limit], mode="lines", name="as predicted", line=line, hoverinfo="skip"
    )


def _largest(values: pd.Series) -> float:
    """Where an axis about zero ends that holds all finite values, with a margin."""
    known = values.abs()[np.isfinite(values)]
    return 1.05 * (float(known.max()) if len(known) and known.max() else 1.0)
