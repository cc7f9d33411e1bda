"""A list of examples as a table whose rows can be ticked, and the button that puts edits of them into the basket."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import streamlit as st

from explorer.export import spreadsheet
from explorer.panels.repair.subject import Subject
from explorer.ui import escape, pictures, theme
from explorer.view import edits
from influence.live import Alteration

LISTED_EXAMPLES = 50
"""Examples that a table lists."""
FIRST = 10
"""Examples that the button takes where none is ticked."""
TEXT_CHARACTERS = 120
LOOKS = {
    "picture": st.column_config.ImageColumn(width="small"),
    "text": st.column_config.TextColumn(width="large"),
    "reasons": st.column_config.TextColumn(width="large"),
}
NUMBERS = st.column_config.NumberColumn(format="%.3g")


def shown(table: pd.DataFrame) -> dict[str, object]:
    """The columns that tell who an example is: its picture, id, label and text."""
    columns: dict[str, object] = {}
    if "image" in table:
        columns["picture"] = [pictures.data_url(row) for _, row in table.iterrows()]
    columns["id"] = table["id"].to_numpy()
    columns["label"] = [theme.group_name(label) for label in table["label"]]
    if "text" in table:
        columns["text"] = [escape.beginning(text, TEXT_CHARACTERS) for text in table["text"]]
    return columns


def in_basket(subject: Subject, rows: Sequence[int] | np.ndarray) -> list[str]:
    """Of each example what the edits in the basket change of it, in words."""
    told = []
    for row in rows:
        of = subject.changes(int(row))
        told.append("; ".join(edits.change(each) for each in of))
    return told


def ticked(table: pd.DataFrame, alt: str, key: str, numbers: Sequence[str]) -> list[int]:
    """Draw the table with its download; returns the places of the ticked rows. `numbers` are columns of scores."""
    event = spreadsheet.show(
        table,
        alt,
        on_select="rerun",
        key=f"{key}_table",
        selection_mode="multi-row",
        column_config=LOOKS | dict.fromkeys(numbers, NUMBERS),
    )
    return [place for place in event["selection"]["rows"] if place < len(table)]


def download(table: pd.DataFrame, name: str) -> None:
    """Draw the button that downloads the table."""
    spreadsheet.button(lambda: table.drop(columns="picture", errors="ignore"), name, f"export_{name}")


def put(
    subject: Subject,
    picked: Sequence[int],
    count: int,
    edits_of: Callable[[Sequence[int]], list[Alteration]],
    key: str = "put",
) -> None:
    """Draw the button that puts the edits of the ticked rows into the basket, else those of the first.

    `edits_of` makes them of places in the list, which has `count` rows.
    """
    places = list(picked) or list(range(min(FIRST, count)))
    ready = [each for each in edits_of(places) if each not in subject.basket]
    first = f"Put the first {len(places)} into the basket" if len(places) > 1 else "Put the first into the basket"
    st.button(
        f"Put {len(picked)} ticked into the basket" if picked else first,
        key=key,
        icon=":material/add:",
        on_click=edits.put,
        args=(subject.run, ready),
        disabled=not ready,
    )
