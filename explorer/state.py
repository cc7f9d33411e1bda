"""Session keys, URL keys and their defaults: the only place that names them.

Two kinds of choices, both in the URL: those that a widget holds (bound to the URL by the widget's key) and those that
are made by clicking in a picture (kept in the URL itself). What equals its default is left out of the URL.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import streamlit as st

# Held by a widget of the same key.
RUN, SHOW, STAGE, COUNT, ORDER, COLOUR = "run", "show", "of", "k", "order", "colour"
RANKING, SHADING, BY = "ranking", "shading", "by"
# Made by clicking: a prediction, a cell of the confusion matrix, a class, a region of the map, one training example.
QUERY, CELL, GROUP, REGION, EXAMPLE = "query", "cell", "group", "region", "example"
# Made by searching: the words that all listed predictions hold.
WORDS = "words"
# The search field; what it finds goes into QUERY and WORDS.
FIND = "find"

COUNTS = (5, 10, 20)
STRONGEST, RELATIVE = "Strongest", "Relative"
ORDERS = (STRONGEST, RELATIVE)
INFLUENCE, LABEL, LOSS = "Influence", "Label", "Loss"
COLOURS = (INFLUENCE, LABEL, LOSS)
NEAREST, RANDOM = "Nearest", "Random"
RANKINGS = (INFLUENCE, NEAREST, RANDOM)
TOKENS, PLAIN = "Tokens", "Plain"
SHADINGS = (TOKENS, PLAIN)
SOURCE = "Source"
SUMS = (LABEL, SOURCE)

_NOTICES = "notices"


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
