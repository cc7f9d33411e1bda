"""A span of a completion is chosen in a real browser, by mouse and by keys, and the lists are those of the span."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_accessibility import grave, settled

from explorer.__main__ import HERE, prepare

TESTS = Path(__file__).parents[1]
ENTRY = """
import runpy, sys
sys.path.insert(0, {tests!r})
import tiny_completions
from influence.live import live
live.exhibit_of = lambda run, function=None: tiny_completions.exhibit()
runpy.run_path({app!r})
"""
"""Of a server that trusts one function: it says how the run's study is made."""


@pytest.fixture(scope="module")
def address(completions: Any, free_address: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the explorer serves the run of completions, ready to be asked about it."""
    run, launch = completions[0], tmp_path_factory.mktemp("launch")
    entry = prepare(launch)
    entry.write_text(ENTRY.format(tests=str(TESTS / "influence"), app=str(HERE / "app.py")), encoding="utf-8")
    places = {"UPSTREAM_RUNS": str(run.path.parent), "UPSTREAM_STATIC": str(launch / "static")}
    path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "explorer.jobs.server", str(entry), str(free_address)]
    server = subprocess.Popen(command, env={**os.environ, **places, "PYTHONPATH": path}, cwd=launch)
    try:
        address = f"http://localhost:{free_address}"
        _wait_for(server, address)
        look = [sys.executable, "-m", "explorer.jobs.first_look", str(free_address)]  # loads torch, and draws
        subprocess.run(look, env={**os.environ, "PYTHONPATH": path}, timeout=200, check=False)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=15)


def _wait_for(server: subprocess.Popen[bytes], address: str) -> None:
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=5)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server does not answer")


@pytest.fixture
def explore(watched: Any, address: str) -> Iterator[Any]:
    watched.page.set_default_timeout(120_000)
    yield watched.open(f"{address}/?query=101")
    assert watched.left == []
    assert watched.errors == []


def scores(page: Any) -> list[str]:
    return page.locator("section.helpful, section.harmful").all_inner_texts()


def token(page: Any, text: str) -> Any:
    return page.get_by_role("option", name=re.compile(f"^{text}, loss"))


def changed(page: Any, before: list[str], same: bool = False) -> list[str]:
    """The lists, once they are other than before, or the `same` again, for half a second."""
    held = 0
    for _ in range(240):
        found = scores(page)
        held = held + 1 if (found == before) == same else 0
        if held == 3:
            return found
        page.wait_for_timeout(250)
    raise AssertionError(f"The lists {'did not become what they were' if same else 'stay as they were'}.")


def test_a_span_is_chosen_and_taken_back_and_the_lists_follow(explore):
    whole = scores(explore)
    assert token(explore, "what").count() == 0  # the prompt's tokens have no loss
    token(explore, "eats").click()
    one = changed(explore, whole)
    assert one != whole
    explore.wait_for_function("location.href.includes('span=101-26-30')")
    explore.get_by_text("Explained: “eats”").wait_for()
    token(explore, "corn").click(modifiers=["Shift"])
    explore.wait_for_function("location.href.includes('span=101-26-39')")
    assert changed(explore, one) != one
    assert token(explore, "the").get_attribute("aria-selected") == "true"
    assert token(explore, "at").get_attribute("aria-selected") == "false"
    explore.get_by_role("button", name="Whole completion").click()
    explore.get_by_text("Explained: “").wait_for(state="detached")
    explore.wait_for_function("!location.href.includes('span=')")
    assert changed(explore, whole, same=True) == whole


def test_dragging_chooses_what_lies_between(explore):
    first, last = (token(explore, text).bounding_box() for text in ("eats", "corn"))
    explore.mouse.move(first["x"] + 4, first["y"] + 8)
    explore.mouse.down()
    explore.mouse.move(last["x"] + 4, last["y"] + 8, steps=8)
    explore.mouse.up()
    explore.wait_for_function("location.href.includes('span=101-26-39')")


def test_keys_choose_a_span_and_step_to_no_other_prediction(explore):
    token(explore, "it").focus()
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowRight"):
        explore.keyboard.press(key)
    assert token(explore, "corn").get_attribute("aria-selected") == "true"
    explore.keyboard.press("Enter")
    explore.wait_for_function("location.href.includes('span=101-31-39')")
    explore.get_by_text("Explained: “the corn”").wait_for()
    assert "query=101" in explore.url
    assert (
        explore.evaluate(
            "[...document.querySelectorAll('*')].map((e) => e.shadowRoot?.activeElement?.textContent).find(Boolean)"
        )
        == "corn"
    )  # it stays where it was
    explore.keyboard.press("Escape")
    explore.wait_for_function("!location.href.includes('span=')")


def test_a_link_opens_the_span_on_a_phone_without_scrolling_sideways(browser, address):
    page = browser.new_context(viewport={"width": 390, "height": 800}).new_page()
    page.set_default_timeout(120_000)
    page.goto(f"{address}/?query=101&span=101-31-39")
    page.get_by_text("Explained: “the corn”").wait_for()
    assert page.evaluate("document.querySelector('.stMain').scrollWidth") <= 390
    page.context.close()


def test_axe_finds_nothing_serious_in_a_text_of_which_a_span_is_chosen(browser, address):
    page = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    page.set_default_timeout(120_000)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(f"{address}/?query=101&span=101-31-39")
        page.get_by_text("Explained: “the corn”").wait_for()
        settled(page)
        assert grave(page) == [], scheme
    page.context.close()
