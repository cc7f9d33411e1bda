"""A note on one example or prediction: a button that shows whether there is one, and a form behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import pandas as pd
import streamlit as st

from explorer.export import notes
from explorer.panels.lists.card import Card
from explorer.runs import queries
from explorer.ui import escape, state, theme
from influence.errors import RunError
from influence.run import Run

HOVER_CHARACTERS = 200
"""Characters of a note that are shown on hover."""


def of(run: Run) -> notes.Notes:
    """The run's notes; none after saying why they cannot be read. Lines that are damaged are told of, too."""
    try:
        found = notes.read(run)
    except RunError as error:
        state.notice(escape.message(error))
        return notes.Notes()
    if found.damaged:
        lines = ", ".join(map(str, found.damaged[:5])) + (" …" if len(found.damaged) > 5 else "")
        state.notice(
            f"{escape.for_markdown(notes.file(run))} is damaged in line {lines}, which is left as it is. The other "
            "notes are shown, and new ones can be written."
        )
    return found


def marked(cards: Iterable[Card], noted: Mapping[int, notes.Note]) -> tuple[Card, ...]:
    """The cards, those of items that have a note with its beginning."""
    return tuple(
        dataclasses.replace(card, noted=escape.beginning(found.said, HOVER_CHARACTERS))
        if (found := noted.get(int(card.id)))
        else card
        for card in cards
    )


def draw(run: Run, table: str, row: pd.Series, key: str) -> None:
    """Draw the button for the item `row` of `table` (a stage, or queries.QUERIES); `key` keeps several apart."""
    number = int(row["id"])
    note = of(run).latest.get((table, number))
    about = "this prediction" if table == queries.QUERIES else f"#{number}"
    label = f"Note on {about}: {', '.join(note.tags) or 'written'}" if note else f"Note on {about}"
    name = f"{key}_note"
    popover = st.popover(
        label,
        icon=":material/edit_note:",
        key=name,
        on_change="rerun",
        help="Tag this item or write something about it; it is kept beside the run, for everybody who opens it.",
    )
    if popover.open:
        with popover:
            _form(run, table, number, note, name)


def _form(run: Run, table: str, number: int, note: notes.Note | None, name: str) -> None:
    what = "Prediction" if table == queries.QUERIES else theme.stage_word(table).capitalize() + " example"
    # What a visitor is typing survives another's note; what is shown is the one that was there at first.
    own = f"{name}-{run.name}-{table}-{number}"
    with st.form(own, border=False):
        st.markdown(f"**{escape.for_markdown(what)} #{number}**")
        st.pills(
            "Tags",
            notes.TAGS,
            selection_mode="multi",
            default=list(note.tags) if note else [],
            key=f"{own}-tags",
            wrap=True,
        )
        st.text_area(
            "Note",
            note.text if note else "",
            max_chars=notes.LONGEST_NOTE,
            key=f"{own}-text",
            height=110,
            placeholder="What you saw here",
        )
        seen = note.time if note else ""
        st.form_submit_button("Save", type="primary", on_click=_save, args=(run, table, number, own, seen))
    if note:
        st.caption(f"Written {escape.for_markdown(note.time[:16].replace('T', ' '))} UTC. Empty it to take it back.")


def _save(run: Run, table: str, number: int, own: str, seen: str) -> None:
    tags = tuple(st.session_state.get(f"{own}-tags") or ())
    text = (st.session_state.get(f"{own}-text") or "").strip()
    try:
        before = notes.read(run).latest.get((table, number))
        notes.write(run, notes.Note(table, number, tags, text, state.here()))
    except RunError as error:
        state.notice(escape.message(error))
        return
    if before is not None and before.time != seen:
        state.notice(
            f"Meanwhile somebody else had noted “{escape.for_markdown(escape.beginning(before.said, 300))}” there. "
            "Yours is shown now; theirs is kept in the file."
        )
    st.toast("Kept." if tags or text else "The note was taken back.")
