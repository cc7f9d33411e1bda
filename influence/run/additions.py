"""Add tables of checks to a finished run."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from influence.run.draft import discard_work
from influence.run.files import (
    CHECK_FILE,
    MANIFEST_FILE,
    check_file,
    checksum,
    locked,
    manifest_checksum,
    refuse_name,
    write_json,
)
from influence.run.manifest import read_json
from influence.run.plain import refuse_odd_entries, replacement, sweep, sync_folder, writing
from influence.run.reading import Run
from influence.run.records import Manifest, manifest_of


def add_tables(run: Run, tables: Mapping[str, pd.DataFrame]) -> Run:
    """Add tables of checks to a finished run, replacing older tables of the same checks. Returns the run, read again.

    File names contain a hash of the contents. The new files are on the disk before run.json, which is replaced
    atomically, names them; they count from then on. So an interruption or a power cut leaves the old or the new run.

    Args:
        run: a finished run.
        tables: check -> table, see CONTRACT.md.

    Raises:
        RunError: a check's name is no file name, the run holds a link, a pipe or a device, another process writes the
            run, or it cannot be written.
    """
    for check in tables:
        refuse_name(check, "a check's")
    with locked(run.path):
        refuse_odd_entries(run.path)
        manifest = read_json(run.path)  # as it stands: fields that no record knows stay
        known = manifest_of(manifest, run.path)
        _discard_leftovers(run.path, known)
        before = dict(known.validation)
        written = {check: _add(run.path, check, table) for check, table in tables.items()}
        manifest["validation"] = before | written
        stale = set(before.values()) - set(manifest["validation"].values())
        kept = {name: digest for name, digest in manifest["files"].items() if name not in stale}
        manifest["files"] = kept | {name: checksum(run.path / name) for name in written.values()}
        manifest["checksum"] = manifest_checksum(manifest)
        write_json(run.path / MANIFEST_FILE, manifest)
        for name in stale:
            (run.path / name).unlink(missing_ok=True)
    return Run(run.path, manifest_of(manifest, run.path))


def _discard_leftovers(folder: Path, manifest: Manifest) -> None:
    """Delete what killed processes left: half a file, a table that run.json does not list, work of a complete run."""
    sweep(folder)
    for path in (folder / "validation").glob("*"):
        name = path.relative_to(folder).as_posix()
        if CHECK_FILE.fullmatch(name) and name not in manifest.files:
            path.unlink(missing_ok=True)
    if not manifest.pending:
        discard_work(folder)


def _add(folder: Path, check: str, table: pd.DataFrame) -> str:
    """Name of the file, inside the run, that holds the table."""
    contents = io.BytesIO()
    table.to_parquet(contents, index=False)
    name = check_file(check, hashlib.sha256(contents.getvalue()).hexdigest()[:12])
    with writing(folder / name):
        (folder / name).parent.mkdir(exist_ok=True)
        sync_folder(folder)
        with replacement(folder / name) as new:
            new.write_bytes(contents.getvalue())
    return name
