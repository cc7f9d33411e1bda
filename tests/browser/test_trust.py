"""The Trust page in a real browser: the way there, its charts, and the way on."""

from __future__ import annotations


def settle(page):
    page.wait_for_function("document.querySelector('.stApp')?.dataset.testScriptState === 'notRunning'")
    page.wait_for_timeout(300)


def test_from_a_list_to_its_trust_and_on_to_an_example(watched, address):
    page = watched.open(f"{address}/?run=small-checked")
    badge = page.locator("a.up-badge")
    assert "of 10 stay" in badge.inner_text()
    badge.click()
    page.wait_for_selector(".up-verdict")
    settle(page)
    assert "query=1007" in page.url
    assert "Prediction #1007" in page.locator(".up-this").inner_text()
    chart = page.locator("svg[role=img]").first
    assert "r = 0.9" in chart.get_attribute("aria-label")
    assert page.get_by_role("listitem").filter(has_text="another damping").count() == 1
    point = page.locator("svg a").first
    example = point.get_attribute("href").split("example=")[1].split("&")[0]
    point.dispatch_event("click")
    page.wait_for_url(f"**/item?*example={example}*")
    assert watched.left == []


def test_a_narrow_screen_shows_all_of_it(watched, address):
    page = watched.page
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{address}/trust?run=small-checked")
    page.wait_for_selector("svg[role=img]")
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = [chart.bounding_box() for chart in page.locator("svg[role=img]").all()]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
