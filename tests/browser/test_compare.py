"""The Compare page in a real browser: lines, hover and clicks."""

from __future__ import annotations

import pytest

PLOT = "document.querySelector('.upstream-scatter .plot')"
# A point of the cloud that stands alone: [x on screen, y, its place].
ALONE = f"""() => {{
  const plot = {PLOT}, layout = plot._fullLayout, box = plot.getBoundingClientRect(), cloud = plot.data[0];
  const at = (axis, value) => axis._offset + axis.l2p(value);
  const all = Array.from(cloud.x, (x, i) => [at(layout.xaxis, x), at(layout.yaxis, cloud.y[i])]);
  const free = (i) => all.every((b, j) => j === i || Math.hypot(all[i][0] - b[0], all[i][1] - b[1]) > 20);
  const i = all.findIndex((_, i) => free(i));
  return [box.left + all[i][0], box.top + all[i][1], cloud.customdata[i]];
}}"""


@pytest.fixture
def compare(watched, address):
    page = watched.page
    page.goto(f"{address}/compare?run=small&k=20")
    page.wait_for_selector("a.card")
    page.wait_for_selector(".upstream-scatter .main-svg")
    page.wait_for_function("document.querySelector('.stApp')?.dataset.testScriptState === 'notRunning'")
    page.wait_for_timeout(300)
    yield page
    assert watched.left == []


def test_lines_join_the_two_cards_of_one_example(compare):
    ids = [
        set(
            compare.locator(f".st-key-joined_lists .column.{side} a.card").evaluate_all("e => e.map(c => c.dataset.id)")
        )
        for side in "ab"
    ]
    paths = compare.locator(".st-key-joined_lists path")
    assert set(paths.evaluate_all("e => e.map(p => p.dataset.tie)")) == ids[0] & ids[1]
    tie = paths.first.get_attribute("data-tie")
    start = paths.first.evaluate(
        "(p) => [p.getPointAtLength(0), p.getPointAtLength(p.getTotalLength())].map((q) => [q.x, q.y])"
    )
    origin = compare.locator(".st-key-joined_lists .both").bounding_box()
    for side, (x, y) in zip("ab", start, strict=True):
        box = compare.locator(f".st-key-joined_lists .column.{side} [data-id='{tie}']").bounding_box()
        edge = box["x"] + (box["width"] if side == "a" else 0)
        assert (x + origin["x"], y + origin["y"]) == pytest.approx((edge, box["y"] + box["height"] / 2), abs=1)
    # Resting on one card lights the line and the other card.
    compare.locator(f".st-key-joined_lists .column.a [data-id='{tie}']").hover()
    assert compare.locator(".st-key-joined_lists .lit").count() == 3


def test_a_point_shows_its_picture_and_opens_its_page(compare):
    x, y, place = compare.evaluate(ALONE)
    compare.mouse.move(x - 2, y)
    compare.mouse.move(x, y)
    tip = compare.locator(".upstream-scatter .tip")
    tip.wait_for(state="visible")
    assert f"#{place}" in tip.inner_text()
    assert "A " in tip.inner_text()
    assert "/app/static/" in tip.locator(".picture").evaluate("(e) => e.style.backgroundImage")
    compare.mouse.click(x, y)
    compare.wait_for_url(f"**/item?*example={place}*")
    compare.wait_for_selector("button.card, a.card")
    assert compare.locator(".up-item").get_attribute("alt").startswith(f"Training example {place},")


def test_narrow_page_keeps_both_lists_beside_each_other(watched, address):
    watched.page.set_viewport_size({"width": 390, "height": 844})
    page = watched.page
    page.goto(f"{address}/compare?run=words-hostile")
    page.wait_for_selector("a.card")
    page.wait_for_function("document.querySelector('.stApp')?.dataset.testScriptState === 'notRunning'")
    page.wait_for_timeout(300)
    assert (
        page.evaluate("document.querySelector('.stMain').scrollWidth - document.querySelector('.stMain').clientWidth")
        <= 0
    )
    # What shows nothing in its place takes none either: it would widen the page while the rest is being drawn.
    unseen = page.locator(":is(.st-key-connection, .st-key-travel)").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect().right)"
    )
    assert unseen
    assert max(unseen) < 30
    a, b = (page.locator(f".column.{side} a.card").first.bounding_box() for side in "ab")
    assert a["y"] == pytest.approx(b["y"], abs=1)
    assert a["x"] + a["width"] < b["x"]


def test_a_copied_link_names_the_second_run(compare):
    compare.context.grant_permissions(["clipboard-read", "clipboard-write"])
    compare.get_by_role("button", name="Copy link").click()
    compare.get_by_text("Copied").wait_for()
    link = compare.evaluate("navigator.clipboard.readText()")
    assert "run=small&" in link + "&"
    assert "run_b=small" in link
    assert "run_b" not in compare.url


def test_a_visitor_who_comes_back_finds_the_second_prediction(compare):
    compare.locator(".st-key-side_B_next button").first.click()
    compare.wait_for_url("**query_b=*")
    chosen = compare.url.split("query_b=")[1].split("&")[0]
    # What is left behind is kept at the end of the script, after the address has changed.
    compare.wait_for_function("document.querySelector('.stApp')?.dataset.testScriptState === 'notRunning'")
    compare.wait_for_timeout(300)
    compare.get_by_role("link", name="Explore").click()
    compare.wait_for_selector("button.card")
    assert "query_b" not in compare.url
    compare.get_by_role("link", name="Compare", exact=True).click()
    compare.wait_for_url(f"**query_b={chosen}*")
    compare.wait_for_selector("a.card")
    assert compare.locator(".st-key-find_B input").input_value() == chosen
