"""Widgets that several pages draw in the same way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import streamlit as st

from explorer.ui import state

Option = TypeVar("Option")


def choice(label: str, options: Sequence[Option], key: str, **more: Any) -> Option:
    """Draw a choice among a few options, the first of them unless the URL has another under `key`.

    `more` goes to `st.segmented_control`.
    """
    chosen = st.segmented_control(
        label, options, default=options[0], required=True, key=key, bind="query-params", **more
    )
    # What the session holds may be an option of another run or stage.
    return chosen if chosen in options else options[0]


def heading(words: str, note: str = "", width: Literal["stretch", "content"] = "stretch") -> None:
    """Draw the heading of a part of the page, as HTML with everything from data escaped; `note` is small and quiet."""
    quiet = f' <span class="up-quiet up-small">{note}</span>' if note else ""
    st.html(f'<h2 class="up-title">{words}{quiet}</h2>', width=width)


def chip(label: str, key: str, help: str) -> None:
    """Draw a filter of a list as a button; a press takes the choice `key` back. `label` is markdown."""
    st.button(label, icon=":material/close:", key=f"clear_{key}", help=help, on_click=state.click, args=(key, None))


LONGEST_SEARCH = 100
"""Characters of a search that are taken."""


@dataclasses.dataclass(frozen=True)
class Search:
    """A field that shows the id of what is on the page; `find` is called with what a visitor types into it."""

    key: str
    shown: str
    find: Callable[[str], None]
    help: str
    width: int = 112


def beside(position: int, count: int) -> tuple[int | None, int | None]:
    """The places before and after `position` among `count`; None where there is none."""
    return (position - 1 if position > 0 else None), (position + 1 if position + 1 < count else None)


def stepper(
    name: str,
    noun: str,
    where: str,
    places: tuple[int | None, int | None],
    go: Callable[[int], None],
    search: Search,
    arrow_keys: bool = True,
    keys: tuple[str, str] | None = None,
    width: Literal["stretch", "content"] = "stretch",
) -> None:
    """Draw a button to the previous and one to the next item, where one is, and a field to search for another.

    Args:
        name: keeps several on a page apart.
        noun: what is stepped through, such as "prediction".
        where: place of the item on the page, in words.
        places: of the previous and the next item; None where there is none.
        go: called with the place of the item to go to.
        search: the field.
        arrow_keys: whether the arrow keys press the buttons.
        keys: other keys that press them, for the help text.
        width: of the words.
    """
    titles = [f"{which} {noun}" for which in ("Previous", "Next")]
    if keys is not None:
        titles = [f"{title} ({key})" for title, key in zip(titles, keys, strict=True)]
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key=f"steps_{name}"):
        for which, arrow, place, title in zip(("previous", "next"), ("left", "right"), places, titles, strict=True):
            st.button(
                "",
                icon=f":material/chevron_{arrow}:",
                key=f"{name}_{which}",
                shortcut=arrow if arrow_keys else None,
                on_click=go,
                args=(place,),
                disabled=place is None,
                help=title,
            )
        st.markdown(where, width=width, text_alignment="center")
        st.session_state[search.key] = search.shown
        st.text_input(
            "Find",
            key=search.key,
            label_visibility="collapsed",
            width=search.width,
            on_change=lambda: search.find(" ".join(st.session_state[search.key].split())[:LONGEST_SEARCH]),
            help=search.help,
        )


def tables(key: str, draw: Callable[[], None]) -> None:
    """Draw the tables behind a page, once a visitor opens them."""
    expander = st.expander("Tables behind this page", icon=":material/table:", on_change="rerun", key=key)
    if expander.open:
        with expander:
            draw()
