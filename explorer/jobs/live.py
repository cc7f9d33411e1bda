"""Live answers for pages: one opened study a run, shared by all visitors; of all runs one answer is computed at a time.

They are computed in this process, and wait for each other, but not for the commands of `process`: those take minutes.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

import influence.live
from explorer.jobs.line import Line
from explorer.runs import cache, folder
from explorer.ui import escape
from influence.errors import unsaid
from influence.live import STEPS, Alteration, Criterion, Target
from influence.run import Run

if TYPE_CHECKING:
    from influence.live import Live, Together

AHEAD = 5.0
"""Seconds after a visitor's first view until torch is loaded: by then that view stands."""
_line = Line()
_begun: weakref.WeakSet[Live] = weakref.WeakSet()
"""Those whose index is computed, or was."""


def opened(run: Run) -> Live:
    """The run's study, ready to be asked.

    Raises:
        RunError, StudyError: it cannot be asked; the message says why and what to do.
    """
    return _opened(run, cache.computed(run))


def indexed(run: Run) -> Live:
    """The same, and what answers about new predictions need is computed while the visitor still thinks of one.

    Raises:
        RunError, StudyError: as `opened`.
    """
    found = opened(run)
    if found not in _begun:
        _begun.add(found)
        threading.Thread(target=_warm_up, args=(found,), daemon=True).start()
    return found


@st.cache_resource(max_entries=2, show_spinner="Opening the run's models …")
def _opened(_run: Run, computed: int) -> Live:
    with _line.turn("the models of another run", _silently):
        return influence.live.Live(_run, folder.function_of(_run))


def _warm_up(opened: Live) -> None:
    """What goes wrong is told by the first question, which tries again."""
    with contextlib.suppress(Exception), _line.turn("the index of a run", _silently):
        opened.warm_up()


def _silently(words: str, more: int) -> None:
    """Nobody is told that something waits."""


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    """Wait on the page for what was asked before. A visitor who leaves, or asks something else, gives the place up."""
    place = st.empty()

    def waiting(words: str, more: int) -> None:
        place.caption(f"Waits for {words}{f' and {more} more' if more else ''}: one at a time is answered.")

    with _line.turn("another question", waiting):
        place.empty()
        yield


@contextlib.contextmanager
def _answer(opened: Live, words: str) -> Iterator[None]:
    """Wait for the turn, and say what is done; what is on the page already stays there meanwhile."""
    with _turn():
        first = "" if opened.ready else "Before the first one an index is made, which may take a minute or two. "
        with st.spinner(f"{first}{words} …"):
            yield


def scores(opened: Live, item: Any, target: Target) -> Mapping[str, np.ndarray]:
    """Stage -> scores of its examples; what is on the page already stays there while they are computed."""
    with _answer(opened, "Following the answer back"):
        return opened.scores(item, target)


def leave_one_out(opened: Live, criterion: Criterion, stage: str) -> np.ndarray:
    """`WhatIf.scores`: what leaving each example out would do, (m,), positive = helpful."""
    with _answer(opened, "Following what is judged by back"):
        return opened.what_if.scores(criterion, stage)


def labels(opened: Live, criterion: Criterion, stage: str, rows: Sequence[int] | None = None) -> np.ndarray:
    """`WhatIf.labels`: what every label would do, (n, C)."""
    with _answer(opened, "Trying every label"):
        return opened.what_if.labels(criterion, stage, rows)


def own_labels(opened: Live, stage: str, rows: Sequence[int] | None = None) -> np.ndarray:
    """`WhatIf.own_labels`: what the other examples say of every label, (n, C)."""
    with _answer(opened, "Asking the other examples for every label"):
        return opened.what_if.own_labels(stage, rows)


def votes(opened: Live, criterion: Criterion, stage: str) -> np.ndarray:
    """`WhatIf.votes`: what taking each vote back would do, (V,), in the order of `Run.votes`."""
    with _answer(opened, "Taking each vote back"):
        return opened.what_if.votes(criterion, stage)


def alone(opened: Live, criterion: Criterion, alterations: Sequence[Alteration]) -> np.ndarray:
    """`WhatIf.alone`: what each alteration alone would do, (E,)."""
    with _answer(opened, "Trying each edit"):
        return opened.what_if.alone(criterion, alterations)


def together(opened: Live, criterion: Criterion, alterations: Sequence[Alteration], steps: int = STEPS) -> Together:
    """`WhatIf.together`: what all alterations would do if they were made."""
    with _answer(opened, "Trying the edits together"):
        return opened.what_if.together(criterion, alterations, steps)


def patches(opened: Live, criterion: Criterion, stage: str, rows: Sequence[int], side: int) -> np.ndarray:
    """`WhatIf.patches`: what each patch of some pictures would do if it were blank, (n, down, across)."""
    with _answer(opened, "Looking where in the pictures"):
        return opened.what_if.patches(criterion, stage, rows, side)


def additions(opened: Live, criterion: Criterion, stage: str, pool: pd.DataFrame | Path) -> np.ndarray:
    """`WhatIf.additions`: what each of a pool's examples would do if it were added, (n,)."""
    with _answer(opened, "Trying each of the pool"):
        return opened.what_if.additions(criterion, stage, pool)


def after(opened: Live, criterion: Criterion, stage: str, alterations: Sequence[Alteration]) -> np.ndarray:
    """`WhatIf.after`: `leave_one_out` as if the alterations had been made, (m,), nan for what is left out."""
    with _answer(opened, "Making the edits, and ranking again"):
        return opened.what_if.after(criterion, stage, alterations)


def error(opened: Live, stage: str) -> float:
    """Relative error of a stage's scores that the index makes."""
    with _turn():
        return opened.error(stage)


def warn(run: Run, opened: Live) -> None:
    """Draw what the live computation warns of and the run does not, be it with slightly other figures."""
    for warning in unsaid(opened.warnings, run.manifest.warnings):
        st.warning(escape.for_markdown(warning), icon=":material/warning:")


def split(opened: Live, item: Any, target: Target, stage: str) -> Callable[[list[int]], Mapping[int, np.ndarray]]:
    """Rows of a stage's examples -> their scores split over tokens; empty where the stage has none."""

    def of(examples: list[int]) -> Mapping[int, np.ndarray]:
        if not opened.splits(stage):
            return {}
        with _turn():
            return opened.shares(item, target, stage, examples)

    return of


@st.cache_resource(show_spinner=False)
def load_ahead() -> None:
    """Load what answers new questions some seconds from now, once a process: nobody waits for it, and Try it opens."""
    timer = threading.Timer(AHEAD, lambda: influence.live.Live)
    timer.daemon = True
    timer.start()
