"""Session keys, URL keys and their defaults: the only place that names them.

Two kinds of choices, both in the URL: those that a widget holds (bound to the URL by the widget's key) and those that
are made by clicking in a picture (kept in the URL itself). What equals its default is left out of the URL.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

import streamlit as st

from explorer.ui import escape

Value = TypeVar("Value")

# Held by a widget of the same key.
RUN, SHOW, STAGE, COUNT, ORDER, COLOUR = "run", "show", "of", "k", "order", "colour"
RANKING, SHADING, BY = "ranking", "shading", "by"
# What is explained of a prediction, and the class to compare with.
TARGET, AGAINST = "explained", "against"
# Made by clicking: a prediction, a cell of the confusion matrix, a class, a region of the map, one training example.
QUERY, CELL, GROUP, REGION, EXAMPLE = "query", "cell", "group", "region", "example"
# The same: a class within the source that is GROUP, a bar of the histogram, the row of the totals that is open, and a
# span of the prediction's text.
WITHIN, BAR, BRANCH, SPAN = "within", "bar", "branch", "span"
# What if: whether it is open, what edits are judged by, whether the parts of a picture are coloured, and the edit.
WHAT_IF, JUDGE, WHERE, EDIT = "what_if", "judge", "where", "edit"
# Suspects: over which predictions scores are summed, which end of the ranking, and the edits set aside.
SLICE, SIDE, BASKET = "slice", "side", "basket"
# The same: what edits are judged by, the two groups of a gap, the class of an error; which list; whether edits are
# predicted together, and examples ranked again with them; and the example that is reviewed.
CRITERION, GAP, ERROR_OF, REPAIR = "criterion", "gap", "class", "repair"
TOGETHER, AGAIN, REVIEW = "together", "again", "review"
# The same: who speaks for another label.
SPEAKS = "speaks"
# The same: the uploaded file from which examples are added.
POOL = "pool"
# Of the review, never in the URL: how many keys were pressed.
PRESSED = "pressed"
# The widgets that follow SLICE and BASKET, which other widgets and the back button change too.
SLICE_WIDGET, BASKET_WIDGET = "slice_choice", "basket_items"
# Trust: how models were trained again, and whose changes are drawn.
TRAINED, WHOSE = "trained", "whose"
# Notes: with which tag.
TAG = "tag"
# Learn: the lesson's step, and what was changed in the plane.
LESSON, PLANE = "lesson", "plane"
# Made by searching: the words that all listed predictions hold.
WORDS = "words"
# Compare: side B's run and prediction (A's are RUN and QUERY), and of either side the method and what is explained.
RUN_B, QUERY_B = "run_b", "query_b"
METHOD, METHOD_B, EXPLAINED, EXPLAINED_B = "method", "method_b", "explain", "explain_b"
# The study's finetuned models; what is chosen goes into RUN.
MODEL = "model"
# The search field; what it finds goes into QUERY and WORDS.
FIND = "find"
# The same for training examples; what it finds goes into EXAMPLE.
FIND_EXAMPLE = "find_example"

# Try it: how to ask, the test item to start from, the text, the drawing as the model reads it.
WAY, START, TEXT, SHEET = "way", "start", "text", "sheet"
# The same: the prompt of a completion.
PROMPT = "prompt"
# Of Try it, never in the URL: a file, a drawing, what was asked before, and which of it to compare with.
UPLOADED, DRAWN, ASKED, BESIDE = "uploaded", "drawn", "asked", "beside"

# Of Learn, never in the URL: the step and run that were arranged last, the steps that were answered, what retraining in
# the plane gave.
ARRANGED, ANSWERED, RETRAINED = "arranged", "answered", "retrained"

# What only Explore's widgets hold, with no value that another page could take.
NOTHING_OF_EXPLORE: dict[str, tuple[str, ...]] = dict.fromkeys(
    (SHOW, COUNT, ORDER, COLOUR, RANKING, SHADING, BY, TARGET, AGAINST), ()
)

COUNTS = (5, 10, 20)
STRONGEST, RELATIVE, DIVERSE = "Strongest", "Relative", "Diverse"
ORDERS = (STRONGEST, RELATIVE, DIVERSE)
INFLUENCE, LABEL, LOSS = "Influence", "Label", "Loss"
COLOURS = (INFLUENCE, LABEL, LOSS)
NEAREST, RANDOM, ALL_THREE = "Nearest", "Random", "All three"
BM25, COSINE = "BM25", "Cosine"
RANKINGS = (INFLUENCE, NEAREST, BM25, COSINE, RANDOM, ALL_THREE)
TOKENS, PLAIN, PATCHES = "Tokens", "Plain", "Patches"
SHADINGS, PICTURE_SHADINGS = (TOKENS, PLAIN), (PLAIN, PATCHES)
HARM, HELP = "Harm", "Help"
SIDES = (HARM, HELP)
REMOVE, RELABEL, ADD, VOTES = REPAIRS = ("Remove", "Relabel", "Add", "Votes")
JUDGED, OWN = SPEAKERS = ("What is judged by", "The other examples")
SOURCE = "Source"
SUMS = (LABEL, SOURCE)
FROM_SOLUTION, FROM_SCRATCH = "From the solution", "From scratch"
TRAININGS = (FROM_SOLUTION, FROM_SCRATCH)
EVERY, THIS, MISTAKES = "All predictions", "This prediction", "All mistakes"
JUDGES = (THIS, MISTAKES, EVERY)

_NOTICES = "notices"
_PAGE = "page"
_KEPT = "kept"
_SEEN = "seen"
# What a visitor takes along from page to page: made by clicking, and held by widgets.
KEPT, KEPT_WIDGETS = (QUERY, EXAMPLE, BASKET), (RUN, STAGE)
TRAVELLING = (*KEPT, STAGE)
"""Keys of the URL, beside the run's, that a link to another page has too."""

# Addresses of the pages that others lead to.
EXPLORE_PAGE, ITEM_PAGE = "explore", "item"
SUSPECTS_PAGE, COMPARE_PAGE = "suspects", "compare"
TRUST_PAGE, NOTES_PAGE, LEARN_PAGE = "trust", "notes", "learn"
# What comes back when a visitor returns to a page that no other page knows of.
KEPT_THERE = {COMPARE_PAGE: (RUN_B, QUERY_B, METHOD, METHOD_B, EXPLAINED, EXPLAINED_B)}


def runs_folder() -> Path:
    """The folder of runs: the environment variable UPSTREAM_RUNS, by default data/runs."""
    return Path(os.environ.get("UPSTREAM_RUNS") or "data/runs").resolve()


def usual_run() -> str | None:
    """The run to open when the URL names none: the one shown before, else the environment variable UPSTREAM_RUN."""
    return shown_run() or os.environ.get("UPSTREAM_RUN") or None


def clicked(key: str) -> str | None:
    """A choice that was made by clicking, as the URL has it."""
    return st.query_params.get(key)


def parsed(key: str, parse: Callable[[str], Value | None], refusal: Callable[[str], str]) -> Value | None:
    """A choice made by clicking as `parse` reads it; None without one.

    What `parse` gives None for is taken out of the URL, and `refusal` says so: it gets the value, escaped for markdown.
    """
    text = clicked(key)
    value = None if text is None else parse(text)
    if text is not None and value is None:
        click(key, None)
        notice(refusal(escape.for_markdown(text)))
    return value


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


def here() -> str:
    """The link to the view that is shown, relative to the app."""
    page = st.session_state.get(_PAGE, EXPLORE_PAGE)
    return f"./{'' if page == EXPLORE_PAGE else page}?{_choices()}"


def link() -> str:
    """The whole address of the view that is shown, as the visitor's browser has it."""
    return f"{st.context.url}?{_choices()}" if st.context.url else here()


def _choices() -> str:
    # The run is named even where it is the usual one: the link still means the same when another is added.
    known = {RUN: st.session_state.get(RUN)} | st.query_params.to_dict()
    return urlencode({key: value for key, value in known.items() if value is not None})


def take_along(address: str) -> None:
    """After a change of pages: put back what visitors take along, as far as the URL does not say it."""
    before = st.session_state.get(_PAGE)
    if before is not None and before != address:
        said = st.query_params.to_dict()
        for key, value in st.session_state.get(_KEPT, {}).items():
            if key in KEPT_WIDGETS:
                # The widget writes the URL by itself, and reads it only when a visitor comes from outside.
                st.session_state[key] = said.get(key, value)
            elif key not in said and (key in KEPT_THERE.get(address, ()) or (key in KEPT and not said)):
                st.query_params[key] = value
    st.session_state[_PAGE] = address


def keep() -> None:
    """Remember what is to be taken along. What a widget holds is remembered on pages that lack the widget, too."""
    here = (*KEPT, *KEPT_THERE.get(st.session_state.get(_PAGE, ""), ()))
    kept = {key: value for key, value in st.session_state.get(_KEPT, {}).items() if key not in here}
    kept |= {key: st.session_state[key] for key in KEPT_WIDGETS if key in st.session_state}
    st.session_state[_KEPT] = kept | {key: st.query_params[key] for key in here if key in st.query_params}


def shown_run() -> str | None:
    """Name of the run that the page showed when the visitor last saw it; for use in a callback."""
    return st.session_state.get(_KEPT, {}).get(RUN)


def changed(what: str, now: object) -> bool:
    """Whether `what` is other than when this visitor's page looked at it last."""
    seen = st.session_state.setdefault(_SEEN, {})
    before = seen.get(what, now)
    seen[what] = now
    return before != now


def first_sight() -> bool:
    """Whether this server has never drawn a page for this visitor before."""
    return _KEPT not in st.session_state


def nothing() -> None:
    """For events that are read where they are drawn."""


def notice(text: str) -> None:
    """Say something once, on top of the page, in this or the next run of the script. `text` is markdown."""
    notices = st.session_state.setdefault(_NOTICES, [])
    if text not in notices:
        notices.append(text)


def take_notices() -> list[str]:
    """The notices so far, which are then forgotten."""
    return st.session_state.pop(_NOTICES, [])


def refused(params: Mapping[str, str], allowed: Mapping[str, Sequence[str]]) -> list[tuple[str, str, Sequence[str]]]:
    """The URL's values that no widget can take: (key, value, allowed values)."""
    return [
        (key, params[key], values) for key, values in allowed.items() if key in params and params[key] not in values
    ]


def texts(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)
