"""Examples as pictures: PNG bytes from a table, for pages and for people who cannot see them."""

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
    value = example.get("text")
    return value if isinstance(value, str) else None
