"""Tables on a page, and as CSV that spreadsheets open as it is meant: in UTF-8, and no cell read as a formula.

Every table of the explorer is drawn and written here. What Streamlit itself offers beside a table is switched off
(`client.disableDataExport`), since it writes cells as they are; a button of our own stands below.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any, Literal

import pandas as pd
import streamlit as st

from explorer.ui import escape
from influence.errors import printable

_SIGNS = "=+-@"
_QUOTED = re.compile(r'[",;\t\r\n]|^\s|\s$')
"""What a cell is quoted for: some spreadsheets end it at semicolons and tabs, too, and some drop spaces."""
_ODD = re.compile(r"[^A-Za-z0-9._-]+")
LONGEST_NAME = 150
"""Characters of a file's name."""


def csv(table: pd.DataFrame) -> bytes:
    """The table as CSV in UTF-8, with a mark that spreadsheets need; before what looks like a formula stands a `'`."""
    rows = zip(*(column.to_numpy() for _, column in table.items()), strict=True)
    lines = [map(_cell, table.columns), *(map(_cell, row) for row in rows)]
    return "".join(",".join(line) + "\r\n" for line in lines).encode("utf-8-sig")


def _cell(value: object) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):  # type: ignore[call-overload]
        return ""
    text = _no_formula(printable(value, kept="\n\r\t")) if isinstance(value, str) else str(value)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _no_formula(text: str) -> str:
    """The text, after a `'` if spreadsheets would compute it: it begins with a sign of any width, or a break."""
    first = next((letter for letter in text if not letter.isspace() and unicodedata.category(letter) != "Cf"), "")
    signed = unicodedata.normalize("NFKC", first)[:1] in tuple(_SIGNS)
    return f"'{text}" if signed or text.startswith(("\t", "\r", "\n")) else text


def file_name(*parts: object) -> str:
    """The name of a file to take along, without its ending: plain letters, whatever its parts hold."""
    return _ODD.sub("-", "-".join(map(str, parts))).strip("-.")[:LONGEST_NAME] or "table"


def button(
    table: Callable[[], pd.DataFrame],
    name: str,
    key: str,
    label: str = "CSV",
    help: str = "Download this list as a table",
) -> None:
    """A button that downloads a table as NAME.csv; the table is made when it is pressed."""
    st.download_button(
        label,
        lambda: csv(table()),
        f"{file_name(name)}.csv",
        "text/csv",
        key=key,
        icon=":material/download:",
        on_click="ignore",
        help=help,
    )


def draw(table: pd.DataFrame, alt: str, name: str, key: str, height: int | Literal["auto"] = "auto") -> None:
    """Draw a table, with a button below that downloads it as NAME.csv."""
    show(table, alt, height=height)
    button(lambda: table, name, key)


def show(table: pd.DataFrame, alt: str, **looks: Any) -> Any:
    """Draw a table, what cannot be seen as symbols; nothing downloads it. `looks` goes to `st.dataframe`."""
    seen = table.rename(columns=escape.visible)
    for name in seen.columns:
        if not pd.api.types.is_numeric_dtype(seen[name]):
            seen[name] = seen[name].map(_visible)
    return st.dataframe(seen, hide_index=True, alt=escape.visible(alt), **looks)


def _visible(value: object) -> object:
    return escape.visible(value) if isinstance(value, str) else value
