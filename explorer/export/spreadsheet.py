"""Tables on a page, and as CSV to take along.

Every table of the explorer is drawn and written here. What Streamlit itself offers beside a table is switched off
(`client.disableDataExport`), since it writes cells as they are; a button of our own stands below.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

import pandas as pd
import streamlit as st

from explorer.ui import escape
from influence.run import as_csv as csv

_ODD = re.compile(r"[^A-Za-z0-9._-]+")
LONGEST_NAME = 150
"""Characters of a file's name."""


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
