"""A page that cannot be drawn, for a reason that nobody foresaw: a run may hold what no page expects."""

from __future__ import annotations

import logging

import streamlit as st

from explorer.ui import escape
from influence.run import Run

LONGEST = 300
"""Characters of the reason that are shown."""


def draw(run: Run, error: Exception) -> None:
    """Say which run it is and what went wrong; the whole of it goes to the log, which is the terminal."""
    logging.getLogger(__name__).error("Run %s cannot be drawn", run.path, exc_info=error)
    reason = escape.for_markdown(f"{type(error).__name__}: {error}"[:LONGEST])
    st.error(
        f"This page cannot be drawn of run {escape.for_markdown(run.name)} ({reason}). The terminal in which the "
        "explorer was started says more. If the run is your own, please report it.",
        icon=":material/error:",
    )
