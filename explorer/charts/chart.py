"""A chart: a plotly figure, what it says in words, and how it comes onto the page."""

from __future__ import annotations

import dataclasses

import plotly.graph_objects as go
import streamlit as st

from explorer.ui import escape


@dataclasses.dataclass(frozen=True)
class Chart:
    """A figure, and `alt`: what those hear of it who do not see it."""

    figure: go.Figure
    alt: str


def draw(chart: Chart, key: str) -> None:
    """Draw a chart that answers to the pointer, and from which nothing is chosen."""
    st.plotly_chart(_fresh(chart), key=key, alt=escape.visible(chart.alt), config=_config(key))


def draw_choice(chart: Chart, key: str) -> int | None:
    """Draw a chart whose points can be pressed; return the number that the pressed point has as `customdata`."""
    chosen = st.plotly_chart(
        _fresh(chart),
        key=key,
        alt=escape.visible(chart.alt),
        config=_config(key),
        on_select="rerun",
        selection_mode="points",
    )
    points = chosen["selection"]["points"]
    number = points[0].get("customdata") if points else None
    return number if isinstance(number, int) else None


def _fresh(chart: Chart) -> go.Figure:
    """The figure as one of the mode that is shown: the browser fills in colours only when a figure is a new one."""
    return chart.figure.update_layout(meta=st.context.theme.type)


def _config(name: str) -> dict[str, object]:
    """Plotly's buttons: zoom, pan, back again, and a picture named `name`."""
    return {
        "displaylogo": False,
        "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
        "toImageButtonOptions": {"format": "png", "scale": 2, "filename": name},
    }
