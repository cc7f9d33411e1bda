"""The app's own components, each a script and a style sheet beside this file.

All build their elements with `textContent` and attributes, never with `innerHTML`: text from data stays text.
Events come back as triggers (`on_<event>_change`), to be read inside the callback with `event`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer


def _component(name: str, *parts: str, isolate_styles: bool = True) -> ComponentRenderer:
    """The component's script stands behind those of its `parts`: Streamlit takes one script a component."""
    folder = Path(__file__).parent
    styles = [folder / f"{part}.css" for part in ("shared", *parts, name)]
    return st.components.v2.component(
        f"upstream_{name}",
        html="<div class='root'></div>",
        css="".join(style.read_text() for style in styles if style.is_file()),
        js="\n".join((folder / f"{script}.js").read_text() for script in (*parts, name)),
        isolate_styles=isolate_styles,
    )


appearance = _component("appearance")
cards = _component("cards")
chart = _component("chart")
confusion = _component("confusion")
connection = _component("connection")
copy_link = _component("copy_link")
drawing = _component("drawing")
early = _component("early", "fetched")
histogram = _component("histogram")
intervals = _component("intervals")
joined_lists = _component("joined_lists")
plane = _component("plane", "two_stages", "plane_formula", "plane_marks", "plane_panel")
spotlight = _component("spotlight")
strip = _component("strip")
totals = _component("totals")
travel = _component("travel")
# In a shadow root Plotly's own style sheet would be missing and its buttons would fall apart.
influence_map = _component("influence_map", "fetched", "places", "points", isolate_styles=False)
scatter = _component("scatter", "fetched", "places", "points", isolate_styles=False)


def event(key: str, name: str) -> Any:
    """What the component `key` just reported as `name`; to be called in its callback."""
    return getattr(st.session_state.get(key), name, None)
