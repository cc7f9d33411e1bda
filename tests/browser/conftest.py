"""A real server on a small run, and the system's Chromium to look at it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# WebGL by the processor, but not the whole page through it, which takes a fifth more time. And none of the browser's
# own traffic: a request that leaves the machine is then the page's.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> **bold** $x$ \u202eevil\x07 שלום 👩\u200d👧 " + "w" * 200
)
"""Markup, a turned direction of reading, a bell, letters that UTF-16 counts otherwise, a word wider than the page."""


@pytest.fixture(scope="session")
def address(small: Any, small_checks: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the explorer serves small runs, started as a user would start it; it opens the one of pictures."""
    root = tmp_path_factory.mktemp("runs")
    small.write_run(root, "small")
    small_checks.checked(small.write_run(root, "small-checked"))
    small.write_run(root, "words", text=True)
    small.write_run(root, "words-hostile", text=True, hostile=HOSTILE)
    with serving(root, free_port()) as address:
        yield address


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def serving(root: Path, port: int, *options: str) -> Iterator[str]:
    """An explorer of its own on a folder of runs, with further options, stopped at the end."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    server = subprocess.Popen(
        [sys.executable, "-m", "explorer", "--runs", str(root), "--port", str(port), "--no-browser", *options],
        env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        lines = iter(server.stdout.readline, "")
        assert any(f"http://localhost:{port}" in line for line in lines), "the server did not say where it is"
        with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5) as answer:
            assert answer.status == 200
        yield f"http://localhost:{port}"
    finally:
        server.terminate()
        server.wait(timeout=15)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Playwright's way to start the system's Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install `chromium` to run the browser tests")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium


@pytest.fixture(scope="session")
def browser(chromium: Any) -> Iterator[Any]:
    """For visitors who share nothing with each other."""
    browser = chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield browser
    browser.close()


class Watched:
    """A page, with every request that left the machine and every error on its console."""

    def __init__(self, page: Any):
        self.page = page
        self.left: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._request)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("http://localhost:", "ws://localhost:", "data:", "blob:")):
            self.left.append(request.url)

    def open(self, url: str) -> Any:
        self.page.goto(url)
        self.page.wait_for_selector("button.card")
        self.page.wait_for_selector(".upstream-map .main-svg")
        settle(self.page)
        return self.page


def settle(page: Any) -> None:
    """Wait until the script has run and nothing on the page changes any more."""
    page.wait_for_function("document.querySelector('.stApp')?.dataset.testScriptState === 'notRunning'")
    page.wait_for_timeout(300)


@pytest.fixture(scope="session")
def list_option() -> Callable[[Any, str], None]:
    """Choose one of what is folded away above the lists."""

    def choose(page: Any, name: str) -> None:
        option = page.get_by_role("radio", name=name, exact=True)
        if not option.is_visible():
            page.locator(".st-key-list_options summary").click()
        option.click()
        page.wait_for_timeout(500)
        if option.get_attribute("aria-checked") == "false":  # the click fell into a redraw of the page
            option.click()

    return choose


@pytest.fixture(scope="session")
def context(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One visitor with a profile on disk: only there Chromium keeps compiled scripts, a quarter of a page's time."""
    context = chromium.launch_persistent_context(
        tmp_path_factory.mktemp("profile"),
        executable_path=CHROMIUM,
        args=FLAGS,
        viewport={"width": 1440, "height": 1000},
    )
    yield context
    context.close()


@pytest.fixture
def watched(context: Any) -> Iterator[Watched]:
    watched = Watched(context.new_page())
    yield watched
    watched.page.close()


@pytest.fixture
def page(watched: Watched, address: str) -> Iterator[Any]:
    """The Explore page, drawn, with no request to elsewhere and no error on the console when the test ends."""
    yield watched.open(address)
    assert watched.left == []
    assert watched.errors == []


@pytest.fixture
def texts(watched: Watched, address: str) -> Iterator[Any]:
    """The run of texts, drawn, with no error on the console when the test ends."""
    yield watched.open(f"{address}/?run=words")
    assert watched.left == []
    assert watched.errors == []


@pytest.fixture(scope="module")
def shown(context: Any, address: str) -> Iterator[Any]:
    """The Explore page, drawn once for the tests of a file that look at it, rest on it, and change nothing."""
    yield from _drawn_once(context, address)


@pytest.fixture(scope="module")
def shown_texts(context: Any, address: str) -> Iterator[Any]:
    """The same of the run of texts."""
    yield from _drawn_once(context, f"{address}/?run=words")


def _drawn_once(context: Any, url: str) -> Iterator[Any]:
    watched = Watched(context.new_page())
    yield watched.open(url)
    assert watched.left == []
    assert watched.errors == []
    watched.page.close()


@pytest.fixture
def until(page: Any) -> Callable[[Callable[[], Any]], Any]:
    """Wait for something to be true that has no selector, and return it."""

    def wait(what: Callable[[], Any]) -> Any:
        end = time.monotonic() + 8
        while time.monotonic() < end:
            found = what()
            if found:
                return found
            page.wait_for_timeout(50)  # unlike time.sleep, this lets Playwright hear from the browser
        raise AssertionError("it did not happen within 8 s")

    return wait


@pytest.fixture
def settled(page: Any) -> Callable[[], None]:
    """Wait until the app has answered."""
    return lambda: settle(page)


@pytest.fixture
def settled_texts(texts: Any) -> Callable[[], None]:
    """The same for the run of texts."""
    return lambda: settle(texts)


@pytest.fixture
def server() -> tuple[Callable[[], int], Callable[[Path, int], Any]]:
    """For a test that stops its server: a free port, and what serves a folder of runs there."""
    return free_port, serving


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    """For tests with runs of their own: serve a folder of them, at a port of its own, with further options."""
    return lambda root, *options: serving(root, free_port(), *options)


@pytest.fixture
def hostile() -> str:
    return HOSTILE


@pytest.fixture
def elsewhere(browser: Any) -> Iterator[Callable[[str], Any]]:
    """Open an address as another visitor: nothing is shared with the first."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    yield lambda url: Watched(context.new_page()).open(url)
    context.close()


@pytest.fixture(scope="module")
def free_address() -> int:
    """A port that nobody listens on."""
    return free_port()
