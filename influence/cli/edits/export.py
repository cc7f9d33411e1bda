"""The edited examples of a run as files to take along."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import influence.run
from influence.errors import RunError

if TYPE_CHECKING:
    import pandas as pd

Form = Literal["parquet", "csv"]


def export_tables(tables: Mapping[str, pd.DataFrame], folder: Path, form: Form) -> list[str]:
    """Write tables as NAME.parquet or NAME.csv; returns the names of what was written.

    CSV holds no pictures: each is the file NAME/ID.png, which the column `image` names. A cell that a spreadsheet would
    take for a formula begins with an apostrophe there.

    Raises:
        RunError: a file or folder of that name is there already, or the folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            path = folder / f"{name}.{form}"
            pictures = "image" in table and form == "csv"
            for there in [path, *([folder / name] if pictures else [])]:
                if there.exists():
                    raise RunError(f"{there} is there already. Choose another folder with --export.")
            if form == "parquet":
                table.to_parquet(path, index=False)
            else:
                path.write_bytes(influence.run.as_csv(_with_files(table, folder, name) if pictures else table))
            written += [path.name, *([f"{name}/"] if pictures else [])]
    except OSError as error:
        raise RunError(f"The edited examples cannot be written to {folder}: {error.strerror}.") from error
    return written


def _with_files(table: pd.DataFrame, folder: Path, name: str) -> pd.DataFrame:
    """The table with the names of files in place of its pictures, which are written."""
    (folder / name).mkdir()
    names = [f"{name}/{row}.png" for row in table["id"]]
    for file, picture in zip(names, table["image"], strict=True):
        (folder / file).write_bytes(picture)
    return table.assign(image=names)
