"""What the browser fetches by itself."""

import hashlib
import io
import json
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from explorer import vendor
from explorer.runs import static_files


def _png(value: int, side: int = 28) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((side, side), value, dtype="uint8")).save(out, "PNG")
    return out.getvalue()


def test_every_thumbnail_is_at_its_own_place():
    images = pd.Series([_png(10), _png(20), b"no picture", _png(40, side=56), _png(50)])
    sheet = np.asarray(Image.open(io.BytesIO(static_files.sprite_sheet(images))))
    wide = static_files.columns(static_files.TILES_A_SHEET)
    for place, value in ((0, 10), (1, 20), (2, 0x88), (3, 40), (4, 50)):
        row, column = divmod(place, wide)
        assert sheet[row * static_files.TILE_PIXELS + 14, column * static_files.TILE_PIXELS + 14, 0] == value


def test_texts_are_cut_short():
    table = pd.DataFrame({"text": ["a" * 1000, "<b>", "\x00", None], "title": ["t", None, "", "u"]})
    assert json.loads(static_files.texts(table)) == [["t", "a" * 140 + " …"], ["", "<b>"], ["", "␀"], ["u", ""]]


def test_texts_are_served_in_pages(small, tmp_path, monkeypatch):
    monkeypatch.setenv("UPSTREAM_STATIC", str(tmp_path / "static"))
    monkeypatch.setattr(static_files, "TEXTS_A_FILE", 25)
    preview = static_files.previews(small.write_run(tmp_path, "words", text=True), "pretrain")
    assert preview["page"] == 25
    name = preview["url"].removeprefix("/app/static/")
    files = [tmp_path / "static" / f"{name}{page}.json" for page in range(3)]
    assert files[0].is_file(), "the first page is there at once"
    wait_for(files)
    pages = [json.loads(file.read_bytes()) for file in files]
    assert [len(page) for page in pages] == [25, 25, 10]
    assert pages[1][1][0] == "head 26"
    assert "number 26 " in pages[1][1][1]


def wait_for(files):
    """Later pages are made in the background."""
    until = time.monotonic() + 20
    while not all(file.is_file() for file in files):
        assert time.monotonic() < until, [file.name for file in files if not file.is_file()]
        time.sleep(0.05)


def test_thumbnails_are_served_in_sheets(small, tmp_path, monkeypatch):
    monkeypatch.setenv("UPSTREAM_STATIC", str(tmp_path / "static"))
    monkeypatch.setattr(static_files, "TILES_A_SHEET", 25)
    preview = static_files.previews(small.write_run(tmp_path), "pretrain")
    assert preview | {"url": ""} == {"kind": "image", "page": 25, "columns": 5, "url": ""}
    name = preview["url"].removeprefix("/app/static/")
    files = [tmp_path / "static" / f"{name}{page}.png" for page in range(3)]
    wait_for(files)
    assert [Image.open(file).size for file in files] == [(140, 140), (140, 140), (140, 56)]


@pytest.mark.parametrize("first", [0, 7])
def test_points_are_those_of_the_table(first, small, tmp_path, monkeypatch):
    monkeypatch.setenv("UPSTREAM_STATIC", str(tmp_path / "static"))
    run = small.write_run(tmp_path)
    table = run.examples("pretrain")
    table["id"] += first
    content = (tmp_path / "static" / Path(static_files.places(run)).name).read_bytes()
    count = len(table)
    assert len(content) == (20 if first else 12) * count
    np.testing.assert_array_equal(np.frombuffer(content, "<f4", count), table["x"])
    np.testing.assert_array_equal(np.frombuffer(content, "<f4", count, 4 * count), table["y"])
    names, codes = static_files.labels(run)
    np.testing.assert_array_equal(np.frombuffer(content, "<i4", count, 8 * count), codes)
    assert [names[code] for code in codes] == table["label"].tolist()
    if first:
        np.testing.assert_array_equal(np.frombuffer(content, "<i8", count, 12 * count), table["id"])


def test_plotly_is_the_one_that_its_makers_published():
    said = re.search(r"sha256 `(\w+)`", (Path(vendor.__file__).parent / "README.md").read_text())
    assert hashlib.sha256(vendor.plotly_source()).hexdigest() == said[1]


def test_nothing_is_served_where_nothing_can_be_written(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("UPSTREAM_STATIC", str(blocked / "static"))
    assert static_files.plotly_js() is None
