"""A new question: drawn, uploaded, written, or a test item to start from and to change."""

from __future__ import annotations

import base64
import dataclasses
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from explorer import components
from explorer.panels.prediction import uploads
from explorer.runs import completions, queries
from explorer.ui import pictures, state, widgets
from influence.errors import StudyError
from influence.live import COMPLETION, DRAWING, PICTURE, TEXT, Input
from influence.run import Run

if TYPE_CHECKING:
    from influence.live import Live

DRAW, UPLOAD, WRITE, TEST = "Draw", "Upload", "Write", "Test item"
WAYS = {
    DRAWING: (DRAW, UPLOAD, TEST),
    PICTURE: (UPLOAD, TEST),
    TEXT: (WRITE, TEST),
    COMPLETION: (WRITE, TEST),
    "": (TEST,),
}
"""Form of a run's questions -> how one can be asked."""
EVERY_WAY = (DRAW, UPLOAD, WRITE, TEST)
"""Ways that the URL may name. One that a run's questions do not have falls back to their first."""
KINDS = ("png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff")


@dataclasses.dataclass(frozen=True)
class Question:
    """An item to ask about, what is shown of it, what to say of how it was read, and whether the address names it."""

    item: Any
    shown: bytes | str
    read: int | None = None
    notes: tuple[str, ...] = ()
    linked: bool = False
    completion: Input | None = None
    """As it was read, where a span of it can be chosen."""


def draw(run: Run, opened: Live) -> Question | None:
    """Draw the ways to ask; the question that was asked, or None if there is none yet.

    Raises:
        StudyError: the model cannot read what was given.
    """
    ways = WAYS[opened.form]
    way = widgets.choice("Ask with", ways, state.WAY, on_change=_take_text, args=(run,))
    if way == UPLOAD:
        return _uploaded(opened)
    position = _test_item(run) if way == TEST else None
    query = None if position is None else run.queries().iloc[position]
    if opened.form == DRAWING:
        return _drawn(run, opened, None if query is None else pictures.data_url(query), position)
    if opened.form == COMPLETION:
        return _completed(opened, query)
    if opened.form == TEXT:
        return _written(opened, "" if query is None else pictures.text(query) or "")
    assert position is not None
    assert query is not None
    item, shown = opened.stored(position), query.get("image") or pictures.text(query) or ""
    return Question(item, shown, linked=True, completion=_stored(run, position, item, shown))


def _stored(run: Run, position: int, item: Any, shown: bytes | str) -> Input:
    """A test item as if it had been read."""
    found = completions.of_query(run, position)
    if found is None:
        return Input(item, shown)
    return Input(item, shown, None, (), found.starts.tolist(), found.ends.tolist(), found.prompt_end)


def _test_item(run: Run) -> int:
    ids = run.queries()["id"].astype(str).tolist()
    state.parsed(
        state.START,
        lambda text: text if text in ids else None,
        lambda text: f"This run has no test item “{text}” to start from; the first is taken.",
    )
    return ids.index(
        st.selectbox(
            "Test item",
            ids,
            key=state.START,
            bind="query-params",
            on_change=_take_text,
            args=(run,),
            help="The number of a test item to start from. Type it to find it.",
        )
    )


def _take_text(run: Run) -> None:
    """Put the text of the chosen test item into the text field."""
    table = run.queries()
    if st.session_state[state.WAY] == TEST and "text" in table:
        position = queries.position_by_id(table, st.session_state.get(state.START) or "")
        row = table.iloc[position or 0]
        text, prompt_end = pictures.text(row) or "", completions.prompt_end(row)
        st.session_state[state.PROMPT], st.session_state[state.TEXT] = text[:prompt_end], text[prompt_end:]


def _uploaded(opened: Live) -> Question | None:
    file = st.file_uploader(
        "Picture", type=list(KINDS), key=state.UPLOADED, max_upload_size=uploads.LARGEST_FILE // 2**20
    )
    return None if file is None else _question(opened.read(uploads.upload(file.name, file.getvalue())))


def _drawn(run: Run, opened: Live, start: str | None, position: int | None) -> Question | None:
    key = f"drawing-{run.name}-{position}"
    kept = f"{state.DRAWN}-{key}"
    address = st.session_state.get(kept)
    linked = _sheet() if position is None and address is None else None
    components.drawing(key=key, data={"start": start or linked}, on_drawn_change=lambda: _keep(kept, key))
    if address or linked:
        found = _question(opened.read(uploads.drawing(address or linked or "")))
        if position is None and isinstance(found.shown, bytes):
            state.click(state.SHEET, base64.urlsafe_b64encode(found.shown).decode())
        return dataclasses.replace(found, linked=position is None)
    if position is None:
        state.click(state.SHEET, None)
    elif address is None:
        # As the run has it: nothing was changed, so nothing is read anew.
        return Question(opened.stored(position), run.queries()["image"].iloc[position], linked=True)
    st.caption("Draw a digit. It is scaled and centred as the model's training digits were.")
    return None


def _sheet() -> str | None:
    """The drawing that the address names, as the canvas takes it; None without one, or after saying that it is none."""
    return state.parsed(state.SHEET, _address, lambda _: "The link's drawing is no picture; draw one.")


def _address(named: str) -> str | None:
    try:
        address = uploads.DRAWING_PREFIX + base64.b64encode(base64.urlsafe_b64decode(named)).decode()
        uploads.drawing(address)
    except (ValueError, StudyError):
        return None
    return address


def _keep(kept: str, key: str) -> None:
    address = components.event(key, "drawn")
    if address is not None:
        st.session_state[kept] = str(address)


def _written(opened: Live, start: str) -> Question | None:
    written = (
        st.text_area("Text", start, key=state.TEXT, bind="query-params", placeholder="Write a sentence", max_chars=5000)
        or ""
    )
    if not written.strip():
        st.caption("Write a sentence and press Ctrl+Enter.")
        return None
    return dataclasses.replace(_question(opened.read(written)), linked=True)


def _completed(opened: Live, query: pd.Series | None) -> Question | None:
    """A prompt and its completion, in a field each; both begin with those of the test item `query`."""
    text, end = ("", 0) if query is None else (pictures.text(query) or "", completions.prompt_end(query))
    prompt = _field("Prompt", text[:end], state.PROMPT, "What the model is given", 68)
    completion = _field("Completion", text[end:], state.TEXT, "What it says to that", 100)
    if not completion.strip():
        st.caption("Write a completion and press Ctrl+Enter. Its loss is explained, given the prompt.")
        return None
    return dataclasses.replace(_question(opened.read((prompt, completion))), linked=True)


def _field(label: str, start: str, key: str, about: str, height: int) -> str:
    given = st.text_area(label, start, key=key, bind="query-params", placeholder=about, max_chars=5000, height=height)
    return given or ""


def _question(found: Input) -> Question:
    return Question(found.item, found.shown, found.read, found.notes, completion=found)
