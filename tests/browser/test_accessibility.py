"""Every page by axe, light and dark, and as people with a magnified or a narrow screen see it."""

from __future__ import annotations

from typing import Any

import pytest

from explorer.ui import state

ADDRESSES = {
    "explore": "?run=small&example=3",
    "texts": "?run=words&example=3",
    "item": f"{state.ITEM_PAGE}?run=small&example=3",
    "text": f"{state.ITEM_PAGE}?run=words&example=3",
    "suspects": f"{state.SUSPECTS_PAGE}?run=small&criterion=Gap&basket=3,4-as-2",
    "review": f"{state.SUSPECTS_PAGE}?run=small&review=3&slice=all&basket=3",
    "compare": f"{state.COMPARE_PAGE}?run=small",
    "trust": f"{state.TRUST_PAGE}?run=small",
    "try it": "try-it?run=small",
    "learn": f"{state.LEARN_PAGE}?run=small",
    "lesson": f"{state.LEARN_PAGE}?run=small&lesson=3",
    "notes": f"{state.NOTES_PAGE}?run=small",
}
GRAVE = ("serious", "critical")
SIDEWAYS = "document.querySelector('.stMain').scrollWidth - document.querySelector('.stMain').clientWidth"


def settled(page: Any) -> None:
    page.wait_for_timeout(500)  # until then a change of colours or of size has reached the script
    page.wait_for_function("document.querySelector('.stApp')?.dataset.testScriptState === 'notRunning'")
    page.wait_for_function("!document.querySelector('[data-stale=true]')")  # which is drawn paler
    page.wait_for_timeout(300)


def grave(page: Any) -> list[str]:
    """What axe finds on the page that is serious, in words."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{each['id']}: {node['html'][:120]} ({node['failureSummary'][:200]})"
        for each in found
        if each["impact"] in GRAVE
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("name", ADDRESSES)
def test_axe_finds_nothing_serious_and_nothing_scrolls_sideways(context, address, name):
    page = context.new_page()
    page.goto(f"{address}/{ADDRESSES[name]}")
    page.wait_for_selector(".up-identity")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        settled(page)
        assert grave(page) == [], scheme
    for width in (720, 390):  # 1440 at 200 %, and a phone
        page.set_viewport_size({"width": width, "height": 800})
        settled(page)
        assert page.evaluate(SIDEWAYS) <= 0, width
    page.close()


def test_dark_is_one_press_away_and_holds_on_every_page(browser, address):
    page = browser.new_context(color_scheme="light").new_page()
    back = "getComputedStyle(document.querySelector('.stApp')).backgroundColor"
    page.goto(f"{address}/?run=words&query=1003")
    page.get_by_role("button", name="Dark").click()
    page.get_by_role("button", name="Light").wait_for()
    assert page.evaluate(back) == "rgb(14, 17, 23)"
    assert "query=1003" in page.url
    page.goto(f"{address}/{state.NOTES_PAGE}")
    page.get_by_role("button", name="Light").wait_for()
    assert page.evaluate(back) == "rgb(14, 17, 23)"
    page.context.close()
