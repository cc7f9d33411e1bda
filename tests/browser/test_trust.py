"""The Trust page in a real browser: the way there, its charts, and the way on."""

from __future__ import annotations


def settle(page):
    page.wait_for_function("document.querySelector('.stApp')?.dataset.testScriptState === 'notRunning'")
    page.wait_for_timeout(300)


def press(page, point):
    """Press the first point as a pointer does: plotly takes the nearest one to it."""
    box = page.locator(point).first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 1, y)
    page.mouse.move(x, y)
    page.mouse.click(x, y)


def test_from_a_list_to_its_trust_and_on_to_an_example(watched, address):
    page = watched.open(f"{address}/?run=small-checked")
    badge = page.locator("a.up-badge")
    assert "of 10 stay" in badge.inner_text()
    badge.click()
    page.wait_for_selector(".up-verdict")
    settle(page)
    assert "query=1007" in page.url
    assert "Prediction #1007" in page.locator(".up-this").inner_text()
    page.wait_for_selector(".st-key-chart_singles .points path")
    scatter = page.get_by_role("figure", name="predicted against measured changes")
    assert "r = 0.9" in scatter.get_attribute("aria-label")
    rows = page.locator(".st-key-rows_stability .ytick")
    assert rows.filter(has_text="another damping").count() == 1
    assert page.locator(".st-key-chart_singles .points path").count() > 50
    press(page, ".st-key-chart_singles .points path")
    way = page.locator("a.up-way", has_text="Example #")
    way.wait_for()
    example = way.get_attribute("href").split("example=")[1].split("&")[0]
    assert f"Without #{example}" in page.locator(".st-key-trust").inner_text()
    way.click()
    page.wait_for_url(f"**/item?*example={example}*")
    assert watched.left == []


def test_a_narrow_screen_shows_all_of_it(watched, address):
    page = watched.page
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{address}/trust?run=small-checked")
    page.wait_for_selector(".stPlotlyChart .main-svg")
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    charts = page.locator(".stPlotlyChart")
    assert charts.count() == 8
    drawn = page.locator(".stPlotlyChart, .stPlotlyChart .points path, .stPlotlyChart text")
    sides = "all => all.flatMap((each) => Array.from(each.getClientRects(), (box) => [box.left, box.right]))"
    places = drawn.evaluate_all(sides)  # at once: there are hundreds
    assert len(places) > 8
    assert all(left >= 0 and right <= 390 for left, right in places)


def test_charts_change_with_light_and_dark(watched, address):
    page = watched.page
    page.emulate_media(color_scheme="light")
    page.goto(f"{address}/trust?run=small-checked")
    back = "getComputedStyle(document.querySelector('.stPlotlyChart .main-svg')).backgroundColor"
    mark = "getComputedStyle(document.querySelector('.st-key-chart_singles .points path')).fill"
    page.wait_for_selector(".st-key-chart_singles .points path", state="attached", timeout=60_000)
    settle(page)
    assert page.evaluate(back) == "rgb(255, 255, 255)"
    light = page.evaluate(mark)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"{back} === 'rgb(14, 17, 23)'")
    page.wait_for_function(f"{mark} !== '{light}'")
    assert watched.left == []
