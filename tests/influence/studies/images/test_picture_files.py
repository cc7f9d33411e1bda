"""Pictures of strangers: kinds that need no other program, and no more pixels than a limit."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

from influence.errors import StudyError
from influence.studies.images.picture_files import (
    KINDS,
    MAX_PIXELS,
    MOST_PAGES,
    PAGES,
    TABLE_PIXELS,
    UPLOAD_PIXELS,
    open_picture,
    opened,
    thumbnail,
)

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(pwned) print\nshowpage\n"


def png_of(width, height):
    """A PNG of one colour, without its pixels in memory."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(b"\0" * (width + 1)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_no_program_is_started_for_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    file = tmp_path / "digit.png"
    file.write_bytes(EPS)
    for read in (lambda: open_picture(file), lambda: open_picture(file, io.BytesIO(EPS)), lambda: thumbnail(EPS)):
        with pytest.raises(StudyError, match="is no picture that can be read"):
            read()


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_known_to_pillow(kind):
    Image.init()
    assert kind in Image.OPEN


@pytest.mark.parametrize(
    ("largest", "read"),
    [
        (MAX_PIXELS, lambda content, _: open_picture(_, io.BytesIO(content))),
        (UPLOAD_PIXELS, lambda content, path: open_picture(path, io.BytesIO(content), UPLOAD_PIXELS)),
        (TABLE_PIXELS, lambda content, _: thumbnail(content)),
    ],
)
def test_pictures_beyond_the_limit_are_not_decoded(tmp_path, monkeypatch, largest, read):
    content = png_of(largest // 100 + 1, 100)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(StudyError, match=f"pictures up to {largest // 10**6} million are read"):
        read(content, tmp_path / "x.png")


def test_a_picture_of_400_million_pixels_is_named(tmp_path):
    content = io.BytesIO(png_of(20_000, 20)[:16] + struct.pack(">II", 20_000, 20_000) + png_of(20_000, 20)[24:])
    with pytest.raises(StudyError, match=r"x\.png"), opened(tmp_path / "x.png", content):
        pass


def test_a_thumbnail_is_a_png():
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 200).save(buffer, "PNG")
    assert thumbnail(buffer.getvalue()).getpixel((0, 0)) == (200, 200, 200)
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 200).save(buffer, "GIF")
    with pytest.raises(StudyError, match="no picture that can be read"):
        thumbnail(buffer.getvalue())


@pytest.mark.parametrize(("pages", "read"), [(1, True), (7, True), (MOST_PAGES, True), (MOST_PAGES + 1, False)])
def test_a_tiff_has_a_limit_of_pages(pages, read):
    """A file of 2.5 MB may have 60,000, which took two minutes to count."""
    size, picture = 42, Path("pages.tif")
    tags = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in ((256, 1), (257, 1), (273, 8)))
    starts = [8 + size * page for page in range(1, pages)] + [0]
    content = b"II*\0\x08\0\0\0" + b"".join(b"\x03\0" + tags + struct.pack("<I", start) for start in starts)
    if read:
        assert open_picture(picture, io.BytesIO(content)).info[PAGES] == pages
    else:
        with pytest.raises(StudyError, match="pages.tif is no picture that can be read .it has more than 1,000 pages"):
            open_picture(picture, io.BytesIO(content))
