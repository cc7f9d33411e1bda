"""Which encoding a file that is no UTF-8 most likely has, for a message."""

from __future__ import annotations

import codecs
from pathlib import Path

from influence.errors import printable
from influence.studies.text_files.packed import open_bytes


def not_utf8(path: Path) -> str:
    """Message with the position of the first byte that is no UTF-8; the decoder's own is relative to a block."""
    decoder, before, lines = codecs.getincrementaldecoder("utf-8")(), 0, 1
    with open_bytes(path) as file:
        start = file.read(4)
        file.seek(0)
        while True:
            block = file.read(2**20)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                at = before - pending + error.start
                lines += error.object[: error.start].count(b"\n")
                found = f"is 0x{error.object[error.start]:02x}, {error.reason}, in line {lines:,}"
                break
            before, lines = before + len(block), lines + block.count(b"\n")
    wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    likely = "UTF-16 (Excel's Unicode text)" if wide else "CP1252 (Windows, Western Europe) or Latin-1"
    return (
        f"{printable(path)} is no UTF-8: byte {at:,} (from 0) {found}. It most likely is {likely}. Save it as UTF-8, "
        f"or convert it: iconv -f {likely.split()[0]} -t UTF-8 FILE > NEW."
    )


def looks_wide(path: Path) -> bool:
    """Whether every second of the first bytes is 0 and no other is: UTF-16 without the mark that says so."""
    with open_bytes(path) as file:
        start = file.read(32)
    return len(start) >= 8 and any(not any(start[i::2]) and all(start[1 - i :: 2]) for i in (0, 1))
