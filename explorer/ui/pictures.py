"""Examples as people see them: PNG bytes and texts from a table, for pages and for people who cannot see them."""

from __future__ import annotations

import base64
from pathlib import Path

import pandas as pd


def data_url(example: pd.Series) -> str | None:
    """The example's PNG as an address that needs no request, or None if it has no picture."""
    png = example.get("image")
    return "data:image/png;base64," + base64.b64encode(png).decode() if isinstance(png, bytes) and png else None


def svg_url(path: Path) -> str:
    """One of our own drawings as an address that needs no request."""
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()


def text(example: pd.Series) -> str | None:
    """The example's text, or None if it has none."""
    return words(example, "text")


def words(example: pd.Series, column: str) -> str | None:
    """The text in an optional column, or None if the example has none."""
    value = example.get(column)
    return value if isinstance(value, str) else None
