"""The live model in the plane: data of its component, and the changes that it reports."""

from __future__ import annotations

import streamlit as st

from explorer import components
from explorer.lesson import plane
from explorer.ui import state


def draw() -> None:
    chosen = state.parsed(
        state.PLANE, plane.parse, lambda _: "The link's plane cannot be read; it is shown as it is at first."
    )
    text = state.clicked(state.PLANE) or ""
    if chosen is None:
        chosen = plane.FIRST
    components.plane(
        key="plane",
        data={**chosen.data(), "text": text, "serial": plane.serial(), "original": plane.FIRST.data()},
        on_changed_change=_changed,
    )


def _changed() -> None:
    said = components.event("plane", "changed")
    if said and plane.parse(str(said["text"])) is not None:
        st.session_state[state.RETRAINED] = dict(said)
        state.click(state.PLANE, said["text"] or None)
