"""Scripts of others, as their makers publish them; README.md says which."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
PLOTLY = "plotly-gl2d-3.7.0.min.js"
"""The part of plotly.js that maps and scatters need; the whole is three times as large."""


def plotly_source() -> bytes:
    """plotly.js, as bytes."""
    return (FOLDER / PLOTLY).read_bytes()
