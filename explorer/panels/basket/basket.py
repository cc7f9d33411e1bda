"""The basket: each edit a chip, what they are predicted to do, alone and together, and what they really do."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explorer.export import spreadsheet
from explorer.panels.basket import corrected, effect
from explorer.panels.repair.subject import Subject
from explorer.ui import state, widgets
from explorer.view import edits


def draw(subject: Subject) -> None:
    """Draw it."""
    widgets.heading("Basket")
    if not subject.basket:
        st.caption("The basket is empty. Tick examples above, and see what these edits are predicted to do.")
        return
    _chips(subject)
    effect.draw(subject)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        corrected.draw(subject)
        ids = pd.DataFrame({"id": [each.id for each in subject.basket]})
        about = "Download the ids of the basket's examples"
        spreadsheet.button(lambda: ids, "basket", "export", "Export ids", about)
        st.button("Empty the basket", key="empty", on_click=state.click, args=(state.BASKET, None))


def _chips(subject: Subject) -> None:
    """An edit a chip, which can be taken out."""
    # The widget follows the URL, which the lists and the back button change too.
    st.session_state[state.BASKET_WIDGET] = list(subject.basket)
    st.multiselect(
        "In the basket",
        list(subject.basket),
        key=state.BASKET_WIDGET,
        on_change=lambda: edits.keep(subject.run, st.session_state[state.BASKET_WIDGET]),
        label_visibility="collapsed",
        select_all=False,
        format_func=lambda edit: edits.words(edit, subject.run),
    )
