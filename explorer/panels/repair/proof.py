"""The basket's edits really made: what training again did, or a way to begin it; and what was left out before."""

from __future__ import annotations

import streamlit as st

from explorer.panels.repair.subject import Subject
from explorer.panels.retraining import retrain
from explorer.trust import left_out
from explorer.view import edits

KNOWN_SETS = 8
"""Sets that were left out before and are offered, the latest."""


def draw(subject: Subject) -> None:
    """Draw it for the basket's edits."""
    rows = edits.left_out(subject.basket, subject.run, subject.stage)
    if len(rows) == len(subject.basket):
        retrain.draw(subject.run, subject.stage, subject.method, rows, subject.judged.positions)


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
