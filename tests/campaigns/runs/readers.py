"""Every reader of a folder of runs: the commands that list and check them, and the explorer's pages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import streamlit as st
from pages import ADDRESSES, app_on, drawn
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from explorer.ui import state
from influence.cli.app import app
from influence.errors import UpstreamError

FIRST_PAGES = ("", state.TRUST_PAGE)


def command(*arguments: str) -> str:
    """What `upstream ARGUMENTS` says; it ends well or with an error that it names."""
    found = CliRunner().invoke(app, list(arguments))
    if not isinstance(found.exception, UpstreamError | OSError | SystemExit | None):
        raise found.exception
    return f"{found.output}{found.exception or ''}"


def page(root: Path, address: str, **url: str) -> AppTest:
    """A page of the runs in `root`, with files to serve of its own; what nobody foresaw is raised."""
    st.cache_resource.clear()
    with mock.patch.dict(os.environ):
        shown = app_on(root, address, **url)
        os.environ["UPSTREAM_STATIC"] = str(root.parent / "static")
        return drawn(shown)


def read_all(root: Path, name: str, pages: tuple[str, ...] = ADDRESSES) -> str:
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
