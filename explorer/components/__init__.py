"""The app's own components, each a script and a style sheet in the folder of what it draws.

All build their elements with `textContent` and attributes, never with `innerHTML`: text from data stays text.
Events come back as triggers (`on_<event>_change`), to be read inside the callback with `event`.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import ArrayLike
from streamlit.components.v2.types import ComponentRenderer

FOLDER = Path(__file__).parent


def _component(place: str, name: str, *parts: str, isolate_styles: bool = True) -> ComponentRenderer:
    """A script and a style sheet of the folder `place`.

    The component's script stands behind `dom.js` and those of its `parts`: Streamlit takes one script a component.
    """
    folder = FOLDER / place
    scripts = [FOLDER / "dom.js", *(folder / f"{part}.js" for part in (*parts, name))]
    styles = [FOLDER / "shared.css", *(folder / f"{part}.css" for part in (*parts, name))]
    return st.components.v2.component(
        f"upstream_{name}",
        html="<div class='root'></div>",
        css="".join(style.read_text() for style in styles if style.is_file()),
        js="\n".join(script.read_text() for script in scripts),
        isolate_styles=isolate_styles,
    )


appearance = _component("page", "appearance")
connection = _component("page", "connection")
copy_link = _component("page", "copy_link")
drawing = _component("page", "drawing")
keys = _component("page", "keys")
spotlight = _component("page", "spotlight")
travel = _component("page", "travel")

alternatives = _component("edits", "alternatives")
brush = _component("edits", "brush", "heat")
words = _component("edits", "words")

completion = _component("texts", "completion")

cards = _component("lists", "cards", "card", "../edits/heat")
joined_lists = _component("lists", "joined_lists", "card")
strip = _component("lists", "strip")

confusion = _component("charts", "confusion")
histogram = _component("charts", "histogram")
totals = _component("charts", "totals")

plane = _component("plane", "plane", "two_stages", "plane_formula", "plane_marks", "plane_panel")

early = _component("points", "early", "fetched")
# In a shadow root Plotly's own style sheet would be missing and its buttons would fall apart.
influence_map = _component("points", "influence_map", "fetched", "places", "points", isolate_styles=False)
scatter = _component("points", "scatter", "fetched", "places", "points", isolate_styles=False)


def packed(values: ArrayLike, kind: str) -> str:
    """An array as base64 of its values, little-endian and without gaps; `kind` is the type, such as "<f4"."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


def event(key: str, name: str) -> Any:
    """The value that the component `key` just reported as `name`; to be called in its callback."""
    return getattr(st.session_state.get(key), name, None)
