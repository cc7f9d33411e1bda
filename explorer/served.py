"""Files that the browser fetches by itself: plotly.js and, by content hash, what the map shows on hover."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import plotly
import streamlit as st
from PIL import Image

from explorer import plain

if TYPE_CHECKING:
    from influence.run import Run

TILE = 28
"""Side of a thumbnail in the sheet, pixels."""
PLOTLY = f"plotly-{plotly.__version__}.min.js"
PAGE = 500
"""Texts in one file; the browser fetches the file of the point that it rests on."""
_PREVIEW = 140
"""Characters of a text that are shown on hover."""


def folder() -> Path | None:
    """Where served files go, or None if this server serves none."""
    launched = os.environ.get("UPSTREAM_STATIC")
    if launched:
        return Path(launched)
    return Path(__file__).parent / "static" if st.get_option("server.enableStaticServing") else None


def plotly_js() -> str | None:
    """Address of plotly.js from the installed package, or None if it cannot be served."""
    return _published(PLOTLY, plotly_source)


def previews(run: Run, stage: str) -> dict[str, object] | None:
    """Where the browser finds a stage's thumbnails or texts: `{"kind", "url", ...}`, None if it cannot be served.

    Of thumbnails there is one sheet. Of texts there is a file for every `PAGE` examples, at the address with the page's
    number and ".json", so that no visitor downloads them all.
    """
    return _previews(run, run.manifest["checksum"], stage)


@st.cache_resource(max_entries=16, show_spinner=False)
def _previews(_run: Run, checksum: str, stage: str) -> dict[str, object] | None:
    table = _run.examples(stage)
    name = hashlib.sha256(f"{checksum} {stage}".encode()).hexdigest()[:16]
    if "image" in table:
        url = _published(f"{name}.png", lambda: sprite_sheet(table["image"]))
        return {"kind": "image", "url": url, "columns": columns(len(table))} if url else None
    if "text" in table:
        return _text_pages(name, table)
    return None


def columns(count: int) -> int:
    """Tiles in a row of the sheet: about square."""
    return math.ceil(math.sqrt(count))


def sprite_sheet(images: pd.Series) -> bytes:
    """All thumbnails in one PNG, row by row; one that cannot be read is left blank."""
    wide = columns(len(images))
    sheet = Image.new("RGB", (wide * TILE, math.ceil(len(images) / wide) * TILE), "#888888")
    for place, png in enumerate(images):
        try:
            tile = Image.open(io.BytesIO(png)).convert("RGB")
        except (OSError, TypeError, ValueError):
            continue
        if tile.size != (TILE, TILE):
            tile = tile.resize((TILE, TILE), Image.Resampling.LANCZOS)
        sheet.paste(tile, (place % wide * TILE, place // wide * TILE))
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()


def _text_pages(name: str, table: pd.DataFrame) -> dict[str, object] | None:
    for page, start in enumerate(range(0, len(table), PAGE)):
        part = table.iloc[start : start + PAGE]
        if _published(f"{name}-{page}.json", partial(texts, part)) is None:
            return None
    return {"kind": "text", "url": f"/app/static/{name}-", "page": PAGE}


def texts(table: pd.DataFrame) -> bytes:
    """Titles (empty where there are none) and the beginnings of the texts, as JSON."""
    titles = table["title"].fillna("") if "title" in table else [""] * len(table)
    pairs = zip(titles, table["text"].fillna(""), strict=True)
    return json.dumps(
        [[plain.beginning(part, _PREVIEW) for part in pair] for pair in pairs], ensure_ascii=False
    ).encode()


def plotly_source() -> bytes:
    """plotly.js as the installed plotly package ships it."""
    return (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes()


def _published(name: str, content: Callable[[], bytes]) -> str | None:
    """Address of file `name`, written first if it is not there; None if that is not possible."""
    target = folder()
    if target is None:
        return None
    path = target / name
    if not path.is_file():
        try:
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=target, delete=False) as file:
                file.write(content())
            Path(file.name).chmod(0o644)
            Path(file.name).replace(path)
        except OSError:
            return None
    return f"/app/static/{name}"
