"""Runs and apps for the explorer's tests."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit import config
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from explorer.panels.header import failure
from influence.run import Run

APP = Path(__file__).parents[2] / "explorer" / "app.py"


@pytest.fixture(scope="session", autouse=True)
def _packages_are_read_once() -> Iterator[None]:
    """Every AppTest would read the metadata of all installed packages, in search of components."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_magic() -> None:
    """As `explorer/.streamlit/config.toml` says, which only the server reads."""
    config.set_option("runner.magicEnabled", False)


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    """Runs of two tests may be equal but for the damage that is done to one."""
    st.cache_resource.clear()


@pytest.fixture(autouse=True)
def _failures_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no page foresaw is a test's failure, and no callout."""

    def again(run: Run, error: Exception) -> None:
        raise error

    monkeypatch.setattr(failure, "draw", again)


@pytest.fixture(scope="session")
def small_root(small: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished runs, read by many tests and changed by none."""
    root = tmp_path_factory.mktemp("runs")
    small.write_run(root, "small")
    small.write_run(root, "small-other", seed=1)
    return root


@pytest.fixture
def open_app(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., AppTest]:
    """Start the app on a folder of runs, with what the URL says, and run it once.

    `page` is the address of another page than the first: a callable page has no file that AppTest could switch to.
    """

    static = tmp_path_factory.mktemp("static")

    def start(root: Path, page: str = "", **url: str) -> AppTest:
        monkeypatch.setenv("UPSTREAM_RUNS", str(root))
        monkeypatch.setenv("UPSTREAM_STATIC", str(static))
        app = AppTest.from_file(str(APP), default_timeout=30)
        app._page_hash = calc_hash(page) if page else ""
        for key, value in url.items():
            app.query_params[key] = value
        return app.run()

    return start


@pytest.fixture
def component() -> Callable[[AppTest, str], Any]:
    """What the app sent to one of its own components."""

    def data(app: AppTest, name: str) -> Any:
        for element in app.get("bidi_component"):
            if element.proto.component_name == f"upstream_{name}":
                return json.loads(element.proto.json)
        raise LookupError(f"the page holds no component {name}")

    return data


@pytest.fixture
def figures() -> Callable[[AppTest], list[Any]]:
    """The plotly figures of a page as dicts, with their arrays as lists."""

    def read(value: Any) -> Any:
        if isinstance(value, dict):
            if "bdata" in value:
                return np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"]).tolist()
            return {key: read(each) for key, each in value.items()}
        return [read(each) for each in value] if isinstance(value, list) else value

    return lambda app: [read(json.loads(element.proto.spec)) for element in app.get("plotly_chart")]
