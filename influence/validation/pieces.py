"""A cache of small tables in a folder. A table's file name holds a hash of its key and one of its contents.

The key is everything that the table depends on. A file that a power cut left half on the disk, or that lies in
another's place, is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from influence.run.plain import own_folder, replacement, sweep, writing

DIGITS = 24
"""Of each hash in a name."""


class Pieces:
    """Tables by key; a key is JSON. The folder is created with the first table. One process has it at a time.

    Raises:
        RunError: the folder is a link, or holds what is no plain file.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._names: dict[str, str] = {}
        if os.path.lexists(folder):
            own_folder(folder)
            sweep(folder)
            self._names = {path.name[:DIGITS]: path.name for path in folder.glob("*.parquet")}

    def get(self, key: Any) -> pd.DataFrame | None:
        """The table under `key`; None if it is missing or damaged."""
        name = self._names.get(hashed(key), "")
        with contextlib.suppress(OSError, ValueError):
            contents = (self.folder / name).read_bytes()
            if name == _name(key, contents):
                return pd.read_parquet(io.BytesIO(contents))
        return None

    def put(self, key: Any, table: pd.DataFrame) -> None:
        """Write a table atomically, in the place of an older one: a concurrent reader gets a whole table or none."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        written = io.BytesIO()
        table.to_parquet(written, index=False)
        name = _name(key, written.getvalue())
        with replacement(self.folder / name) as new:
            new.write_bytes(written.getvalue())
        older = self._names.get(hashed(key), name)
        self._names[hashed(key)] = name
        if older != name:
            (self.folder / older).unlink(missing_ok=True)


def hashed(key: Any) -> str:
    """The hash of a key, the first part of its file's name."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:DIGITS]


def _name(key: Any, contents: bytes) -> str:
    return f"{hashed(key)}-{hashlib.sha256(contents).hexdigest()[:DIGITS]}.parquet"
