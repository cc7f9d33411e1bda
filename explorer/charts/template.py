"""The one look of our plotly figures, in light and dark.

A figure is built once for both modes. Its colours are placeholders of Streamlit's plotly theme: "#000001" stands for
the first of `theme.chartCategoricalColors` in `.streamlit/config.toml`, and the browser puts in the colour of the mode
that it shows. The same theme sets fonts, and the colours of axes, labels and background.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

HELPFUL, HARMFUL, GREY, TEXT, *LINES, QUIET, BACKGROUND = (f"#{place:06d}" for place in range(1, 11))
"""Placeholders of colours, in the order of `theme.chartCategoricalColors`; `LINES` are four that tell curves apart."""
SIGNS = {"helpful": HELPFUL, "harmful": HARMFUL}

TEMPLATE = go.layout.Template(
    layout={
        # A drag scrolls the page on a telephone; the buttons above the chart zoom and pan.
        "dragmode": False,
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "namelength": -1},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "yref": "container", "y": 0, "yanchor": "bottom"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": QUIET, "activecolor": TEXT},
    },
    data={"scatter": [{"cliponaxis": False, "hoverinfo": "text"}], "bar": [{"hoverinfo": "text"}]},
)
# What Streamlit's theme would decide otherwise has to stand in the figure itself.
MARGIN = {"t": 12, "b": 10, "l": 0, "r": 22}
AXIS: dict[str, Any] = {
    "showgrid": True,
    "zeroline": False,
    "tickfont_color": QUIET,
    "title_font": {"color": QUIET, "size": 13},
}


def figure(traces: Sequence[Any], height: int, x: dict[str, Any], y: dict[str, Any], **layout: Any) -> go.Figure:
    """A figure in our template, `height` pixels high and as wide as its place; `x` and `y` say more of its axes."""
    drawn = go.Figure(traces, {"template": TEMPLATE, "height": height, "margin": MARGIN} | layout)
    return drawn.update_xaxes(AXIS | x).update_yaxes(AXIS | y, selector=0)
