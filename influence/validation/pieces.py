"""A cache of small tables in a folder. A table's file name is a hash of its key: everything that it depends on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from influence.run.plain import own_folder, replacement


class Pieces:
    """Tables by key; a key is JSON. The folder is created with the first table.

    Raises:
        RunError: the folder is a link, or holds what is no plain file.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        if os.path.lexists(folder):
            own_folder(folder)

    def get(self, key: Any) -> pd.DataFrame | None:
        """The table under `key`; None if it is missing or damaged."""
        with contextlib.suppress(OSError, ValueError):
            return pd.read_parquet(self._path(key))
        return None

    def put(self, key: Any, table: pd.DataFrame) -> None:
        """Write a table atomically: a concurrent reader gets the whole table or none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacement(self._path(key)) as new:
            table.to_parquet(new, index=False)

    def _path(self, key: Any) -> Path:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{digest[:24]}.parquet"
