"""The basket's edits really made: what training again did, or a way to begin it; and what was left out before."""

from __future__ import annotations

import numpy as np
import streamlit as st

from explorer.panels.repair.subject import Subject
from explorer.panels.retraining import retrain
from explorer.trust import edited, left_out
from explorer.ui import theme
from explorer.view import edits
from explorer.view.criterion import LOSS

KNOWN_SETS = 8
"""Sets that were left out before and are offered, the latest."""


def draw(subject: Subject) -> None:
    """Draw it for the basket's edits."""
    run, basket, by = subject.run, subject.basket, subject.judged
    rows = edits.left_out(basket, run, subject.stage)
    if by.kind == LOSS and len(rows) == len(basket):
        retrain.draw(run, subject.stage, subject.method, rows, by.positions)
        return
    found = edited.judged(run, basket, by)
    made = "with this edit" if len(basket) == 1 else f"with these {len(basket)} edits"
    for effect in found:
        unit = theme.unit_of(np.array([effect.predicted, effect.measured]), subject.stored)
        st.html(retrain.measured_html(effect, made, by.words, unit))
    retrain.button(run, basket, found, "Really train again")


def known(subject: Subject) -> None:
    """Draw the sets that somebody really left out, each a button that puts it into the basket."""
    run, examples = subject.run, subject.examples
    chosen = edits.left_out(subject.basket, run, subject.stage)
    others = [rows for rows in left_out.known(run, subject.stage) if sorted(rows) != sorted(chosen)][:KNOWN_SETS]
    if not others:
        return
    st.caption("Really left out before; put a set into the basket to see what it did:")
    with st.container(horizontal=True, gap="small", key="known_sets"):
        for place, rows in enumerate(others):
            ids = ", ".join(f"#{name}" for name in examples["id"].iloc[rows[:3]])
            more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
            st.button(
                f"{ids}{more}",
                key=f"known_{place}",
                on_click=edits.keep,
                args=(run, subject.without(rows)),
            )
