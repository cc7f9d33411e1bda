"""Pictures in a column of a table."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from PIL import Image

from odd_files.changes import OLD, QUERIES, column


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_of(width: int, height: int, *chunks: tuple[bytes, bytes], data: bytes = b"") -> bytes:
    """A PNG of these sides, with further chunks before its data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    every = [
        (b"IHDR", header),
        *chunks,
        (b"IDAT", data or zlib.compress(bytes((width + 1) * min(height, 2000)))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in every
    )


SMALL = Image.new("L", (28, 28), 100)
ZEROS = zlib.compress(bytes(200_000_000))
PICTURE_FILES: dict[str, Callable[[], bytes]] = {
    "EPS": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/x) (w) file\n",
    "empty": lambda: b"",
    "cut off": lambda: saved(SMALL, "PNG")[:40],
    "of 400 megapixels": lambda: png_of(20_000, 20_000),
    "of many pixels and little data": lambda: png_of(1900, 2000, data=zlib.compress(b"")),
    "without an area": lambda: png_of(0, 5),
    "with sides of 31 bits": lambda: png_of(2**31 - 1, 2**31 - 1, data=b"x"),
    "with 200 MB of text": lambda: png_of(28, 28, (b"zTXt", b"a\0\0" + ZEROS)),
    "with 200 MB of iTXt": lambda: png_of(28, 28, (b"iTXt", b"a\0\1\0\0\0" + ZEROS)),
    "with a profile of 200 MB": lambda: png_of(28, 28, (b"iCCP", b"a\0\0" + ZEROS)),
    "with texts by the thousand": lambda: png_of(28, 28, *[(b"tEXt", b"a\0" + b"x" * 100)] * 20_000),
    "with odd EXIF": lambda: png_of(28, 28, (b"eXIf", b"MM\0\x2a\0\0\0\x08\xff\xff" + bytes(60))),
    "with data of 200 MB": lambda: png_of(28, 28, data=ZEROS),
    "animated": lambda: saved(
        SMALL, "PNG", save_all=True, append_images=[Image.new("L", (28, 28), n) for n in range(99)]
    ),
    "animated without end": lambda: png_of(28, 28, (b"acTL", struct.pack(">II", 2**31 - 1, 0))),
    "GIF": lambda: saved(SMALL, "GIF"),
    "JPEG": lambda: saved(SMALL, "JPEG"),
    "TIFF": lambda: saved(SMALL, "TIFF"),
    "WebP": lambda: saved(SMALL, "WEBP"),
    "of one column": lambda: saved(Image.new("L", (1, 3000)), "PNG"),
    "of 16 bits": lambda: saved(Image.new("I;16", (28, 28)), "PNG"),
    "transparent": lambda: saved(Image.new("RGBA", (28, 28)), "PNG"),
}
IN_COLUMN = {
    f"picture {name}": column(file, "image", lambda t, made=made: pa.array([made()] * 3 + t["image"].to_pylist()[3:]))
    for name, made in PICTURE_FILES.items()
    for file in (QUERIES if name < "cut" else OLD,)
}
