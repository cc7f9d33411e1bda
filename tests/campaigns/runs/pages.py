"""The explorer's pages without a browser: what is drawn, and whether anything fell."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from streamlit.components.v2.component_manager import BidiComponentManager
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from explorer.panels.header import failure
from explorer.ui import state
from influence import cli

APP = Path(__file__).parents[3] / "explorer" / "app.py"
TRY_IT = "try-it"
OTHERS = (
    state.ITEM_PAGE,
    state.SUSPECTS_PAGE,
    state.COMPARE_PAGE,
    state.TRUST_PAGE,
    state.LEARN_PAGE,
    state.NOTES_PAGE,
)
ADDRESSES = ("", *OTHERS, TRY_IT)
"""Of all pages; that of Explore is empty."""


@cache
def _static() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="upstream-static-")


@cache
def _components() -> BidiComponentManager:
    """The components that installed packages bring. Every app of its own would read the metadata of all of them."""
    found = BidiComponentManager()
    found.discover_and_register_components(start_file_watching=False)
    return found


def app_on(root: Path, page: str = "", **url: str) -> AppTest:
    """The app on a folder of runs, not yet run."""
    logging.getLogger("streamlit").setLevel(logging.ERROR)  # it warns that nobody looks
    os.environ["UPSTREAM_RUNS"], os.environ["UPSTREAM_STATIC"] = str(root), _static().name
    app = AppTest.from_file(str(APP), default_timeout=60)
    app._bidi_component_manager = _components()
    app._page_hash = calc_hash(page) if page else ""
    for key, value in url.items():
        app.query_params[key] = value
    return app


def drawn(app: AppTest) -> AppTest:
    """The app, run once more.

    Raises:
        Exception: what a page raised that no part of it foresaw.
    """
    with raising():
        app.run()
    return standing(app)


def standing(app: AppTest) -> AppTest:
    """The app, unless an exception stands on its page."""
    if app.exception:
        raise AssertionError(f"an exception stands on the page: {app.exception[0].message}")
    return app


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """What no page foresaw is raised instead of being said in a callout, for a `with` block."""

    def again(run: Any, error: Exception) -> None:
        raise error

    with patch.object(failure, "draw", again):
        yield


def words(app: AppTest) -> str:
    """All that the page says, in one text."""
    parts = [*app.markdown, *app.caption, *app.error, *app.info, *app.warning, *app.success]
    html = [element.proto.body for element in app.get("html")]
    return "\n".join([*(str(part.value) for part in parts), *html]).replace("\\", "")


def upstream(*arguments: object) -> str:
    """What `upstream ...` says, run in this process.

    Raises:
        AssertionError: it ends with another exit code than 0.
    """
    out = StringIO()
    code: Any = 0
    with patch.object(sys, "argv", ["upstream", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(out):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
    if code:
        raise AssertionError(f"upstream {arguments[0]} ended with {code}: {out.getvalue()[-2000:]}")
    return out.getvalue()


def content(app: AppTest) -> list[str]:
    """What the page shows of a run, part by part: texts, figures, what components were sent; without notices."""
    parts = [str(each.value) for kind in ("markdown", "caption") for each in app.get(kind)]
    parts += [each.proto.body for each in app.get("html")]
    parts += [each.proto.spec for each in app.get("plotly_chart")]
    parts += [each.proto.json for each in app.get("bidi_component")]
    return parts
