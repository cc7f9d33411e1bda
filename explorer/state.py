"""Session keys, URL keys and their defaults: the only place that names them.

Two kinds of choices, both in the URL: those that a widget holds (bound to the URL by the widget's key) and those that
are made by clicking in a picture (kept in the URL itself). What equals its default is left out of the URL.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

import streamlit as st

# Held by a widget of the same key.
RUN, SHOW, STAGE, COUNT, ORDER, COLOUR = "run", "show", "of", "k", "order", "colour"
RANKING, SHADING, BY = "ranking", "shading", "by"
# Made by clicking: a prediction, a cell of the confusion matrix, a class, a region of the map, one training example.
QUERY, CELL, GROUP, REGION, EXAMPLE = "query", "cell", "group", "region", "example"
# Suspects: over which predictions scores are summed, which end of the ranking, and the examples set aside.
SLICE, SIDE, BASKET = "slice", "side", "basket"
# Learn: the lesson's step, and what was changed in the plane.
LESSON, PLANE = "lesson", "plane"
# Made by searching: the words that all listed predictions hold.
WORDS = "words"
# The search field; what it finds goes into QUERY and WORDS.
FIND = "find"
# The same for training examples; what it finds goes into EXAMPLE.
FIND_EXAMPLE = "find_example"

# Of Try it, never in the URL: how to ask, the test item to start from, a file, a drawing, what is explained.
WAY, START, UPLOADED, DRAWN, TARGET = "way", "start", "uploaded", "drawn", "explained"

# Of Learn, never in the URL: the step and run that were arranged last, the steps that were answered, what retraining in
# the plane gave.
ARRANGED, ANSWERED, RETRAINED = "arranged", "answered", "retrained"

COUNTS = (5, 10, 20)
STRONGEST, RELATIVE = "Strongest", "Relative"
ORDERS = (STRONGEST, RELATIVE)
INFLUENCE, LABEL, LOSS = "Influence", "Label", "Loss"
COLOURS = (INFLUENCE, LABEL, LOSS)
NEAREST, RANDOM = "Nearest", "Random"
RANKINGS = (INFLUENCE, NEAREST, RANDOM)
TOKENS, PLAIN = "Tokens", "Plain"
SHADINGS = (TOKENS, PLAIN)
HARM, HELP = "Harm", "Help"
SIDES = (HARM, HELP)
SOURCE = "Source"
SUMS = (LABEL, SOURCE)

_NOTICES = "notices"
_PAGE = "page"
_KEPT = "kept"
# What a visitor takes along from page to page: made by clicking, and held by widgets.
KEPT, KEPT_WIDGETS = (QUERY, EXAMPLE, BASKET), (RUN, STAGE)

# Addresses of the pages that others lead to.
EXPLORE_PAGE, ITEM_PAGE = "explore-run", "training-example"
SUSPECTS_PAGE = "suspect-examples"
LEARN_PAGE = "learn-influence"


def runs_folder() -> Path:
    """Where the runs are: the environment variable UPSTREAM_RUNS, by default data/runs."""
    return Path(os.environ.get("UPSTREAM_RUNS") or "data/runs").resolve()


def first_run() -> str | None:
    """The run to open when the URL names none: the environment variable UPSTREAM_RUN."""
    return os.environ.get("UPSTREAM_RUN") or None


def clicked(key: str) -> str | None:
    """A choice that was made by clicking, as the URL has it."""
    return st.query_params.get(key)


def click(key: str, value: object | None) -> None:
    """Make (or, with None, take back) a choice by clicking."""
    if value is not None:
        st.query_params[key] = str(value)
    elif key in st.query_params:
        del st.query_params[key]


def toggle(key: str, value: object) -> None:
    """Make a choice by clicking, or take it back if it was made already."""
    click(key, None if clicked(key) == str(value) else value)


def address(page: str, **choices: object) -> str:
    """A link to another page with these choices, and the run; st.switch_page refuses URLs that widgets are bound to."""
    known = {RUN: st.session_state.get(RUN)} | choices
    said = urlencode({key: str(value) for key, value in known.items() if value is not None})
    return f"./{'' if page == EXPLORE_PAGE else page}?{said}"


def take_along(address: str) -> None:
    """After a change of pages, which empties the URL: put back what visitors take along."""
    before = st.session_state.get(_PAGE)
    if before is not None and before != address and not st.query_params.to_dict():
        for key, value in st.session_state.get(_KEPT, {}).items():
            if key in KEPT_WIDGETS:
                # The widget writes the URL by itself, and reads it only when a visitor comes from outside.
                st.session_state[key] = value
            else:
                st.query_params[key] = value
    st.session_state[_PAGE] = address


def keep() -> None:
    """Remember what is to be taken along. What a widget holds is remembered on pages that lack the widget, too."""
    before = st.session_state.get(_KEPT, {})
    held = {key: before[key] for key in KEPT_WIDGETS if key in before}
    held |= {key: st.session_state[key] for key in KEPT_WIDGETS if key in st.session_state}
    st.session_state[_KEPT] = held | {key: st.query_params[key] for key in KEPT if key in st.query_params}


def notice(text: str) -> None:
    """Say something once, on top of the page, in this or the next run of the script. `text` is markdown."""
    notices = st.session_state.setdefault(_NOTICES, [])
    if text not in notices:
        notices.append(text)


def take_notices() -> list[str]:
    """What is to be said, once."""
    return st.session_state.pop(_NOTICES, [])


def refused(params: Mapping[str, str], allowed: Mapping[str, Sequence[str]]) -> list[tuple[str, str, Sequence[str]]]:
    """The URL's values that no widget can take: (key, value, allowed values)."""
    return [
        (key, params[key], values) for key, values in allowed.items() if key in params and params[key] not in values
    ]


def texts(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)
