"""Files that the browser fetches by itself: plotly.js, and by content hash the map's points, thumbnails and texts."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from explorer import vendor
from explorer.runs import neighbours
from explorer.runs.cache import per_run
from explorer.ui import escape
from influence.errors import StudyError
from influence.live import thumbnail
from influence.run import class_order

if TYPE_CHECKING:
    from influence.run import Run

TILE_PIXELS = 28
"""Side of a thumbnail in the sheet, pixels."""
TEXTS_A_FILE = 500
"""Texts in one file; the browser fetches the file of the point that it rests on."""
TILES_A_SHEET = 2500
"""Thumbnails in one sheet, fetched in the same way."""
REST_FACTOR = 3
"""A page waits this many times as long as the one before took to make."""
_PREVIEW = 140
"""Characters of a text that are shown on hover."""


def folder() -> Path | None:
    """The folder of served files, or None if this server serves none."""
    launched = os.environ.get("UPSTREAM_STATIC")
    if launched:
        return Path(launched)
    return Path(__file__).parents[1] / "static" if st.get_option("server.enableStaticServing") else None


def plotly_js() -> str | None:
    """Address of plotly.js, or None if it cannot be served."""
    return _published(vendor.PLOTLY, vendor.plotly_source)


@per_run(max_entries=16)
def places(run: Run) -> str | None:
    """Address of the map's points, which all views of a run share; None if it cannot be served.

    They are those of `neighbours.points`, little-endian and without gaps: x and y (float32), the place of each label in
    `labels` (int32), ids (int64), which are left out where they are 0, 1, 2 ...
    """
    stage = run.manifest.map.stage
    table, codes = run.examples(stage)[["x", "y", "id"]].iloc[neighbours.points(run)], labels(run)[1]
    columns = [(table["x"], "<f4"), (table["y"], "<f4"), (codes, "<i4")]
    if not np.array_equal(table["id"], np.arange(len(table))):
        columns.append((table["id"], "<i8"))
    parts = (np.ascontiguousarray(values, dtype=kind).tobytes() for values, kind in columns)
    return _published(f"{_name(run, stage)}.points", lambda: b"".join(parts))


@per_run(max_entries=8)
def labels(run: Run) -> tuple[list[str], np.ndarray]:
    """The labels on the map, in order, and the place among them of each point's, int32."""
    column = run.examples(run.manifest.map.stage)["label"].iloc[neighbours.points(run)]
    codes, names = pd.factorize(column.fillna("").astype(str))
    order = class_order(names)
    places = {name: place for place, name in enumerate(order)}
    return order, np.array([places[name] for name in names], dtype=np.int32)[codes]


@per_run(max_entries=16)
def previews(run: Run, stage: str, on_map: bool = False) -> dict[str, object] | None:
    """Where the browser finds a stage's thumbnails or texts: `{"kind", "url", ...}`, None if it cannot be served.

    `on_map`: of the map's points alone.

    There is a sheet for every `TILES_A_SHEET` thumbnails or a file for every `TEXTS_A_FILE` texts, at the address with
    the page's number and ".png" or ".json", so that no visitor downloads them all. Later pages are made in the
    background: one that is not there yet is asked for again at the next point.
    """
    table, name = run.examples(stage), _name(run, stage)
    if on_map and len(points := neighbours.points(run)) < len(table):
        table, name = table.iloc[points], f"{name}-map"
    if "image" in table:
        pages = _pages(f"{name}-{{}}.png", lambda part: sprite_sheet(part["image"]), table, TILES_A_SHEET)
        found = {"kind": "image", "page": TILES_A_SHEET, "columns": columns(TILES_A_SHEET)}
    elif "text" in table:
        pages, found = _pages(f"{name}-{{}}.json", texts, table, TEXTS_A_FILE), {"kind": "text", "page": TEXTS_A_FILE}
    else:
        return None
    first = next(pages, None)
    if first is None:
        return None
    # Thousands of pictures take seconds, which a first visitor need not wait for.
    threading.Thread(target=_unhurried, args=(pages,), daemon=True).start()
    return found | {"url": f"/app/static/{name}-"}


def _unhurried(pages: Iterator[str]) -> None:
    """Make all pages, and leave the processor to visitors for most of the time."""
    began = time.monotonic()
    for _ in pages:
        time.sleep(REST_FACTOR * (time.monotonic() - began))
        began = time.monotonic()


def _pages(name: str, content: Callable[[pd.DataFrame], bytes], table: pd.DataFrame, size: int) -> Iterator[str]:
    """Addresses of the table's pages, each written when it is asked for; ends early where none can be."""
    for page, start in enumerate(range(0, len(table), size)):
        address = _published(name.format(page), partial(content, table.iloc[start : start + size]))
        if address is None:
            return
        yield address


def _name(run: Run, stage: str) -> str:
    return hashlib.sha256(f"{run.manifest.checksum} {stage}".encode()).hexdigest()[:16]


def columns(count: int) -> int:
    """Tiles in a row of the sheet: about square."""
    return math.ceil(math.sqrt(count))


def sprite_sheet(images: pd.Series) -> bytes:
    """Up to `TILES_A_SHEET` thumbnails in one PNG, row by row; one that cannot be read is left blank."""
    wide = columns(TILES_A_SHEET)
    sheet = Image.new("RGB", (wide * TILE_PIXELS, math.ceil(len(images) / wide) * TILE_PIXELS), "#888888")
    for place, png in enumerate(images):
        try:
            tile = thumbnail(png)
        except StudyError:
            continue
        if tile.size != (TILE_PIXELS, TILE_PIXELS):
            tile = tile.resize((TILE_PIXELS, TILE_PIXELS), Image.Resampling.LANCZOS)
        sheet.paste(tile, (place % wide * TILE_PIXELS, place // wide * TILE_PIXELS))
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()


def texts(table: pd.DataFrame) -> bytes:
    """Titles (empty where there are none) and the beginnings of the texts, as JSON."""
    titles = table["title"].fillna("") if "title" in table else [""] * len(table)
    pairs = zip(titles, table["text"].fillna(""), strict=True)
    return json.dumps(
        [[escape.beginning(part, _PREVIEW) for part in pair] for pair in pairs], ensure_ascii=False
    ).encode()


def _published(name: str, content: Callable[[], bytes]) -> str | None:
    """Address of file `name`, written first if it is not there; None if that is not possible."""
    target = folder()
    if target is None:
        return None
    path = target / name
    if not path.is_file():
        try:
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target) as beside:
                new = Path(beside) / name
                new.write_bytes(content())
                new.replace(path)
        except OSError:
            return None
    return f"/app/static/{name}"
