"""How soon planted errors are found: the share found against the share looked at, a line a finder."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from explorer.charts import template
from explorer.charts.chart import Chart
from explorer.ui import escape

FINDER_WORDS = {"harm": "harm, these scores", "loss": "the example's own loss", "neighbours": "neighbours' labels"}
DASHES = ("solid", "7px,3px", "2px,3px", "9px,3px,2px,3px")
HEIGHT = 380
QUARTERS = [0, 0.25, 0.5, 0.75, 1]


def curves(table: pd.DataFrame) -> Chart:
    """The curves of the largest share that was planted, from the check's table."""
    share = float(table["share"].max())
    part = table[(table["share"] == table["share"].max()) & (table["finder"] != "random")]
    traces, said = [], []
    for place, (finder, rows) in enumerate(part.groupby("finder", sort=False)):
        mean = rows.groupby("checked")["found"].mean()
        area = float(rows.groupby("seed")["area"].first().mean())
        name = f"{FINDER_WORDS.get(str(finder), finder)}: area {area:.2f}"
        said.append(name)
        line = {"dash": DASHES[place % 4], "color": template.LINES[place % 4], "width": 2}
        traces.append(_line(mean.index.tolist(), mean.tolist(), escape.for_plotly(name), line))
    said.append("chance: area 0.50")
    traces.append(_line([0, 1], [0, 1], said[-1], {"color": template.QUIET, "width": 1.25}))
    axis = {"tickvals": QUARTERS, "ticktext": [f"{100 * each:.0f} %" for each in QUARTERS], "range": [0, 1]}
    figure = template.figure(
        traces,
        HEIGHT,
        axis | {"title_text": "share of the examples looked at"},
        axis | {"title_text": "share of the wrong labels found"},
    )
    return Chart(figure, f"Curves of planted errors found, {share:.0%} of the labels flipped: {'; '.join(said)}")


def _line(x: list[float], y: list[float], name: str, line: dict[str, object]) -> go.Scatter:
    words = [f"{found:.0%} found in the first {checked:.0%}<br>{name}" for checked, found in zip(x, y, strict=True)]
    return go.Scatter(x=x, y=y, mode="lines", name=name, line=line, hovertext=words)
