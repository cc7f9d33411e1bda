"""Actions for the ringed example: its own page, a note, and training again without it."""

from __future__ import annotations

import numpy as np
import streamlit as st

from explorer.panels.lists import controls, note
from explorer.panels.retraining import retrain
from explorer.ui import escape, state
from explorer.view.view import View


def draw(view: View) -> None:
    """Draw it, if an example is ringed; a new question has no loss that training again could change."""
    if view.example is None:
        return
    row, position = view.examples.iloc[view.example], view.query.position
    known = None if position is None else view.query.row["id"]
    link = state.address(state.ITEM_PAGE, of=controls.stage_title(view.stage), example=row["id"], query=known)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="of_example"):
        note.draw(view.run, view.stage, row, "example")
        way(link, f"Which predictions example #{row['id']} helps and hurts most")
    if position is not None:
        retrain.draw(view.run, view.stage, view.method, [view.example], np.array([position]))


def way(link: str, words: str) -> None:
    """A link that leads on; `words` are our own."""
    st.html(f'<a class="up-way" href="{escape.for_html(link)}">{words} →</a>', width="content")
