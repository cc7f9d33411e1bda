"""Values with their intervals, a row each on one shared axis; a hollow diamond is what was predicted."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Sequence

import plotly.graph_objects as go

from explorer.charts import template
from explorer.charts.chart import Chart
from explorer.ui import escape, theme

ROW, REST = 38, 84
"""Pixels of a row, and of the axis and legend below the rows."""
RIGHT = {"overlaying": "y", "side": "right", "zeroline": False}
"""The axis on which the values stand in words."""
SYMBOLS = {"helpful": theme.HELPFUL, "harmful": theme.HARMFUL}


@dataclasses.dataclass(frozen=True)
class Row:
    """One value: its 95 % interval and `other` may be NaN, `sign` is "helpful", "harmful" or ""."""

    name: str
    value: float
    low: float
    high: float
    text: str
    words: str = ""
    other: float = math.nan
    sign: str = ""
    detail: str = ""


def intervals(
    rows: Sequence[Row],
    alt: str,
    *,
    include: Sequence[float] = (0.0,),
    factor: float = 1.0,
    unit: str = "",
    other: str = "predicted",
) -> Chart:
    """The rows whose value is known on one axis that also holds the values to `include`.

    `factor` of `unit` make one of a row's. `other` is what the diamond is called.
    """
    known = [row for row in rows if math.isfinite(row.value)]
    # The first row stands on top.
    places = list(range(len(known)))[::-1]
    labels = {"tickvals": places, "tickfont_color": template.TEXT, "showgrid": False, "fixedrange": True}
    band = {"range": [-0.6, len(known) - 0.4]}
    figure = template.figure(
        [_bars(known, places, factor), _diamonds(known, places, factor, other), _dots(known, places, factor)],
        REST + ROW * max(len(known), 1),
        {
            "range": _range(known, include, factor),
            "zeroline": True,
            "zerolinecolor": template.QUIET,
            "ticksuffix": f" {unit}",
            "showticksuffix": "last",
            "nticks": 5,
            "tickangle": 0,
        },
        labels | band | {"ticktext": [_name(row) for row in known]},
        yaxis2=labels | band | {"ticktext": [_text(row) for row in known]} | RIGHT,
    )
    told = "; ".join(f"{row.name}{row.detail and ' ' + row.detail}: {row.text}" for row in known)
    return Chart(figure, f"{alt}. {told}")


def _name(row: Row) -> str:
    """The name with its sign's symbol before it; the detail below it, in quiet letters."""
    symbol = f"{_coloured(SYMBOLS[row.sign], template.SIGNS[row.sign])} " if row.sign in SYMBOLS else ""
    detail = f"<br>{_coloured(escape.for_plotly(row.detail), template.QUIET)}" if row.detail else ""
    return f"{symbol}{escape.for_plotly(row.name)}{detail}"


def _text(row: Row) -> str:
    """The value in words, a line a part."""
    return "<br>".join(escape.for_plotly(part) for part in row.text.split(", "))


def _coloured(text: str, colour: str) -> str:
    return f'<span style="color:{colour}">{text}</span>'


def _bars(rows: Sequence[Row], places: Sequence[int], factor: float) -> go.Scatter:
    """The intervals as thick lines with a gap between any two."""
    known = [(row, place) for row, place in zip(rows, places, strict=True) if math.isfinite(row.low)]
    return go.Scatter(
        x=[end for row, _ in known for end in (row.low * factor, row.high * factor, None)],
        y=[end for _, place in known for end in (place, place, None)],
        mode="lines",
        name="95 % interval",
        line={"color": template.GREY, "width": 3},
        hoverinfo="skip",
        showlegend=bool(known),
    )


def _diamonds(rows: Sequence[Row], places: Sequence[int], factor: float, name: str) -> go.Scatter:
    known = [(row, place) for row, place in zip(rows, places, strict=True) if math.isfinite(row.other)]
    return go.Scatter(
        x=[row.other * factor for row, _ in known],
        y=[place for _, place in known],
        mode="markers",
        name=name,
        marker={"symbol": "diamond-open", "color": template.TEXT, "size": 11, "line": {"width": 1.5}},
        hovertext=[f"{name}: {theme.number(row.other * factor)}" for row, _ in known],
        showlegend=bool(known),
    )


def _dots(rows: Sequence[Row], places: Sequence[int], factor: float) -> go.Scatter:
    colours = [template.SIGNS.get(row.sign, template.TEXT) for row in rows]
    return go.Scatter(
        x=[row.value * factor for row in rows],
        y=places,
        yaxis="y2",
        mode="markers",
        marker={"color": colours, "size": 10},
        hovertext=[wrapped(row.words or f"{row.name}: {row.text}") for row in rows],
        showlegend=False,
    )


def wrapped(words: str, width: int = 60) -> str:
    """A sentence for hovering, in lines of about `width` characters."""
    return "<br>".join(escape.for_plotly(line) for line in textwrap.wrap(words, width))


def _range(rows: Sequence[Row], include: Sequence[float], factor: float) -> list[float]:
    """Ends of an axis that holds all that is known, with a margin; of nothing, 0 to 1."""
    values = [each for row in rows for each in (row.value, row.low, row.high, row.other)]
    found = [value * factor for value in (*values, *include) if math.isfinite(value)]
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    room = 0.04 * (high - low)
    return [low - room, high + room]
