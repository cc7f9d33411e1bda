"""Every reader of a folder of runs: the commands that list and check them, and the explorer's pages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import streamlit as st
from situation import EXPLORER
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash
from typer.testing import CliRunner

from explorer.panels.header import failure
from influence.cli.app import app
from influence.errors import UpstreamError
from influence.run import Run

ENTRY = EXPLORER.parents[1] / "explorer" / "app.py"
PAGES = ("", "item", "suspects", "compare", "trust", "try-it", "learn", "notes")
FIRST_PAGES = ("", "trust")
SECONDS = 60
"""That a page or a command may take."""


def command(*arguments: str) -> str:
    """What `upstream ARGUMENTS` says; it ends well or with an error that it names."""
    found = CliRunner().invoke(app, list(arguments))
    if not isinstance(found.exception, UpstreamError | OSError | SystemExit | None):
        raise found.exception
    return f"{found.output}{found.exception or ''}"


def page(root: Path, address: str, **url: str) -> AppTest:
    """A page of the runs in `root`; what nobody foresaw is raised."""
    st.cache_resource.clear()
    static = root.parent / "static"
    static.mkdir(exist_ok=True)
    served = {"UPSTREAM_RUNS": str(root), "UPSTREAM_STATIC": str(static)}
    with mock.patch.dict(os.environ, served), mock.patch.object(failure, "draw", _again):
        shown = AppTest.from_file(str(ENTRY), default_timeout=SECONDS)
        shown._page_hash = calc_hash(address) if address else ""
        for key, value in url.items():
            shown.query_params[key] = value
        shown.run()
    if shown.exception:
        raise RuntimeError(f"page {address or 'explore'}: {shown.exception[0].stack_trace or shown.exception[0].value}")
    return shown


def _again(run: Run, error: Exception) -> None:
    raise error


def read_all(root: Path, name: str, pages: tuple[str, ...] = PAGES) -> str:
    """Let everybody read run `name` in `root`; all that they say."""
    said = command("runs", "--runs", str(root)) + command("check", name, "--runs", str(root))
    for address in pages:
        shown = page(root, address, run=name)
        said += " ".join(each.value for each in (*shown.error, *shown.warning)).replace("\\", "")
    return said


@contextmanager
def untouched(*paths: Path) -> Iterator[None]:
    """What lies at these paths stays, byte by byte."""
    before = {path: _contents(path) for path in paths}
    yield
    for path, contents in before.items():
        assert _contents(path) == contents, f"{path} was changed"


def _contents(path: Path) -> dict[str, bytes | str]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(f): f.read_bytes() if f.is_file() else "folder" for f in files}


Change = Callable[[Path], None]
