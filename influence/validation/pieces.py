"""A cache of small tables in a folder. A table's file name is a hash of its key: everything that it depends on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd


class Pieces:
    """Tables by key; a key is JSON. The folder is created with the first table."""

    def __init__(self, folder: Path):
        self.folder = folder

    def get(self, key: Any) -> pd.DataFrame | None:
        """The table under `key`; None if it is missing or damaged."""
        path = self._path(key)
        if path.is_file():
            with contextlib.suppress(OSError, ValueError):
                return pd.read_parquet(path)
        return None

    def put(self, key: Any, table: pd.DataFrame) -> None:
        """Write a table atomically: a concurrent reader gets the whole table or none."""
        path = self._path(key)
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        table.to_parquet(part, index=False)
        part.replace(path)

    def _path(self, key: Any) -> Path:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{digest[:24]}.parquet"
