"""Live answers for pages: one opened study a run, shared by all visitors."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

import influence.live
from explorer.runs import cache
from explorer.ui import escape
from influence.live import Target
from influence.run import Run

if TYPE_CHECKING:
    from influence.live import Live

AHEAD = 5.0
"""Seconds after a visitor's first view until torch is loaded: by then that view stands."""


def opened(run: Run) -> Live:
    """The run's study, ready to be asked.

    Raises:
        RunError, StudyError: it cannot be asked; the message says why and what to do.
    """
    return _opened(run, cache.computed(run))


@st.cache_resource(max_entries=2, show_spinner="Opening the run's models …")
def _opened(_run: Run, computed: int) -> Live:
    found = influence.live.Live(_run)
    # While the visitor still thinks of a question; what goes wrong is told by the first question, which tries again.
    threading.Thread(target=_warm_up, args=(found,), daemon=True).start()
    return found


def _warm_up(opened: Live) -> None:
    with contextlib.suppress(Exception):
        opened.warm_up()


def scores(opened: Live, item: Any, target: Target) -> Mapping[str, np.ndarray]:
    """Stage -> scores of its examples; what is on the page already stays there while they are computed."""
    first = "" if opened.ready else "Before the first one an index is made, which may take a minute or two. "
    with st.spinner(f"{first}Following the answer back …"):
        return opened.scores(item, target)


def warn(run: Run, opened: Live) -> None:
    """Draw what the live computation warns of and the run does not."""
    for warning in opened.warnings:
        if warning not in run.manifest.warnings:
            st.warning(escape.for_markdown(warning), icon=":material/warning:")


def split(opened: Live, item: Any, target: Target, stage: str) -> Callable[[list[int]], Mapping[int, np.ndarray]]:
    """Rows of a stage's examples -> their scores split over tokens; empty where the stage has none."""
    return lambda examples: opened.shares(item, target, stage, examples) if opened.splits(stage) else {}


@st.cache_resource(show_spinner=False)
def load_ahead() -> None:
    """Load what answers new questions some seconds from now, once a process: nobody waits for it, and Try it opens."""
    timer = threading.Timer(AHEAD, lambda: influence.live.Live)
    timer.daemon = True
    timer.start()
