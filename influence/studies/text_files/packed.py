"""Files of texts that may be packed by gzip: `texts.jsonl.gz` is read as `texts.jsonl`, as a stream."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import IO, cast

from influence.errors import printable

PACKED = ".gz"
DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error)
"""What reading a packed file raises that is not whole."""


def suffix_of(path: Path) -> str:
    """The suffix that says the format, in small letters: that below `.gz`, where there is one."""
    name = path.name.lower()
    return Path(name.removesuffix(PACKED)).suffix


def open_bytes(path: Path) -> IO[bytes]:
    """A file's bytes, unpacked as they are read."""
    if path.name.lower().endswith(PACKED):
        return cast(IO[bytes], gzip.open(path))
    return path.open("rb")


def damaged(path: Path, error: Exception) -> str:
    """Message about a packed file that is not whole."""
    return f"{printable(path)} is no whole gzip file ({error}); it is damaged or cut off. Fetch or make it again."
