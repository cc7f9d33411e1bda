"""Tables as CSV that spreadsheets open as it is meant: in UTF-8, and no cell of data read as a formula."""

from __future__ import annotations

import pandas as pd
import streamlit as st

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv(table: pd.DataFrame) -> bytes:
    """The table as CSV in UTF-8, with a mark that spreadsheets need; a text that looks like a formula is quoted."""
    safe = table.map(_no_formula).rename(columns=_no_formula)
    return safe.to_csv(index=False, lineterminator="\n").encode("utf-8-sig")


def _no_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def button(table: pd.DataFrame, name: str, key: str) -> None:
    """A button that downloads the table as NAME.csv."""
    st.download_button(
        "CSV",
        lambda: csv(table),
        f"{name}.csv",
        "text/csv",
        key=key,
        icon=":material/download:",
        on_click="ignore",
        help="Download this list as a table",
    )
