"""A table as CSV that spreadsheets open as it is meant: in UTF-8, and no cell read as a formula."""

from __future__ import annotations

import re
import unicodedata

import pandas as pd

from influence.errors import printable

_SIGNS = "=+-@"
_QUOTED = re.compile(r'[",;\t\r\n]|^\s|\s$')
"""What a cell is quoted for: some spreadsheets end it at semicolons and tabs, too, and some drop spaces."""


def as_csv(table: pd.DataFrame) -> bytes:
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
