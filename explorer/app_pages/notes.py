"""Notes: what people noted about a run, with the way back to each item, and what its computation says."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explorer.export import notes, spreadsheet
from explorer.panels.header import said
from explorer.panels.lists import controls, note
from explorer.runs import queries
from explorer.ui import escape, pictures, state, theme, widgets
from influence.run import Run

ALL_TAGS = "All"
LISTED_NOTES = 200
"""Notes that are listed at once; the CSV has all of them."""
PREVIEW_CHARACTERS = 120


def draw(run: Run) -> None:
    """Draw the page for one run."""
    _written(run)
    widgets.heading("What the computation says")
    with st.container(width=760):
        said.draw(run)


def _written(run: Run) -> None:
    """Draw what people noted."""
    found = note.of(run)
    widgets.heading("Notes on this run")
    if not found.latest:
        st.markdown(
            "Nothing is noted yet. Press **Note** beside a prediction or an example on Explore or Item: tags and words "
            "are kept beside the run, and listed here for everybody who opens it."
        )
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        tag = st.pills(
            "Show notes with the tag",
            (ALL_TAGS, *notes.TAGS),
            default=ALL_TAGS,
            required=True,
            key=state.TAG,
            bind="query-params",
            label_visibility="collapsed",
            wrap=True,
        )
        spreadsheet.button(lambda: notes.rows(run, found), f"{run.name}-notes", "export_notes")
    listed = [n for n in reversed(found.latest.values()) if tag in (ALL_TAGS, None) or tag in n.tags]
    st.html(table_html(run, listed[:LISTED_NOTES]) if listed else '<p class="up-quiet">No note has this tag.</p>')
    if len(listed) > LISTED_NOTES:
        st.caption(f"The newest {LISTED_NOTES} of {len(listed):,} are listed; the CSV has all of them.")
    st.caption(f"Kept in {escape.for_markdown(notes.file(run))}, one line a note; nothing is ever deleted from it.")


def allowed(run: Run) -> dict[str, tuple[str, ...]]:
    """What the URL may say for the page's widgets."""
    return state.NOTHING_OF_EXPLORE | {state.TAG: (ALL_TAGS, *notes.TAGS)}


def table_html(run: Run, listed: list[notes.Note]) -> str:
    """The notes as an HTML table with everything from the file escaped."""
    head = "".join(f'<th scope="col">{title}</th>' for title in ("Item", "Tags", "Note", "Written (UTC)", "Go to"))
    rows = "".join(_row(run, each) for each in listed)
    return f'<table class="up-notes"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _row(run: Run, each: notes.Note) -> str:
    what = "prediction" if each.table == queries.QUERIES else f"{theme.stage_word(each.table)} example"
    row = notes.item(run, each)
    shown = "" if row is None else _preview(row)
    tags = " ".join(f'<span class="up-note">{escape.for_html(tag)}</span>' for tag in each.tags)
    earlier = "" if notes.current(run, each) else '<p class="up-quiet">about an earlier run of this name</p>'
    text = f'<p dir="auto">{escape.for_html(each.text)}</p>' if each.text else ""
    return (
        f'<tr><th scope="row">{shown}<span>{escape.for_html(what)} #{each.id}</span></th><td>{tags}</td>'
        f"<td>{text}{earlier}</td><td>{escape.for_html(each.time[:16].replace('T', ' '))}</td>"
        f"<td>{links(run, each, row is not None)}</td></tr>"
    )


def _preview(row: pd.Series) -> str:
    label = escape.for_html(theme.group_name(row["label"]))
    if url := pictures.data_url(row):
        return f'<img src="{url}" alt="label {label}">'
    text = pictures.words(row, "title") or pictures.text(row) or ""
    return f'<bdi class="up-preview">{escape.for_html(escape.beginning(text, PREVIEW_CHARACTERS))}</bdi>'


def links(run: Run, each: notes.Note, there: bool) -> str:
    """The ways back: to the item's own page, and to the view that the note was written in."""
    found = []
    if there and each.table == queries.QUERIES:
        found.append((state.address(state.EXPLORE_PAGE, run=run.name, query=each.id), "prediction"))
    elif there:
        of = controls.stage_title(each.table)
        found.append((state.address(state.ITEM_PAGE, run=run.name, of=of, example=each.id), "example"))
    if each.view:
        found.append((each.view, "the view then"))
    return " · ".join(f'<a href="{escape.for_html(link)}" target="_self">{words}</a>' for link, words in found)
