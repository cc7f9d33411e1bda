"""The Explore page in a real browser: what AppTest cannot see."""

from __future__ import annotations

import io
import re
import urllib.request
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image, ImageColor

from explorer.runs import static_files


def said(page) -> tuple[str, dict[str, list[str]]]:
    """A page's address, whatever the order of what it says."""
    address = urlsplit(page.url)
    return address.path, parse_qs(address.query)


PLOT = "document.querySelector('.upstream-map .plot')"
# A point that stands alone, far enough from all others that a click can mean only it: [x on screen, y, its place].
ALONE = f"""(taken) => {{
  const plot = {PLOT}, layout = plot._fullLayout, box = plot.getBoundingClientRect(), cloud = plot.data[0];
  const at = (x, y) => [layout.xaxis._offset + layout.xaxis.l2p(x), layout.yaxis._offset + layout.yaxis.l2p(y)];
  const all = cloud.x.map((x, i) => at(x, cloud.y[i]));
  const star = at(plot.data[3].x[0], plot.data[3].y[0]);
  const far = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) > 20;
  const free = (i) => [...all.filter((_, j) => j !== i), star].every((b) => far(all[i], b));
  const seen = ([x, y]) => x > 40 && y > 60 && x < box.width - 40 && y < box.height - 40;
  const i = all.findIndex((a, i) => seen(a) && free(i) && !taken.includes(cloud.customdata[i]));
  return i < 0 ? null : [box.left + all[i][0], box.top + all[i][1], cloud.customdata[i]];
}}"""
# Where an example is: on the map, and on screen.
PLACE = f"""(id) => {{
  const cloud = {PLOT}.data[0], i = cloud.customdata.indexOf(id);
  return [cloud.x[i], cloud.y[i]];
}}"""
ON_SCREEN = f"""([x, y]) => {{
  const plot = {PLOT}, layout = plot._fullLayout, box = plot.getBoundingClientRect();
  const left = layout.xaxis._offset + layout.xaxis.l2p(x), top = layout.yaxis._offset + layout.yaxis.l2p(y);
  return [box.left + left, box.top + top];
}}"""


def ring(page):
    """Place of the ringed example on the map, as drawn: its coordinates, or None."""
    traces = page.evaluate(f"{PLOT}.data.map((t) => [t.name, t.x[0], t.y[0]])")
    return next((place for name, *place in traces if name == "ring"), None)


def zoom(page):
    return page.evaluate(f"[...{PLOT}._fullLayout.xaxis.range, ...{PLOT}._fullLayout.yaxis.range]")


def wheel(page, until):
    box = page.locator(".upstream-map .plot").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    before = zoom(page)
    page.mouse.wheel(0, -300)
    until(lambda: zoom(page) != before)
    page.wait_for_timeout(500)
    return zoom(page)


def test_opens_on_a_mistake(shown, small):
    assert shown.locator(".up-prediction img").get_attribute("alt").startswith(f"Test item {small.MISTAKE}")
    assert "✗ wrong" in shown.locator(".up-prediction").inner_text()
    assert shown.locator("button.card").count() == 10
    assert shown.locator("section.helpful .value").all_inner_texts()[0].startswith("+")


def test_scripts_of_the_first_view_are_named_in_the_first_answer(shown, address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        named = set(re.findall(r'/static/js/[^"]+', answer.read().decode()))
    loaded = shown.evaluate("performance.getEntriesByType('resource').map((one) => new URL(one.name).pathname)")
    assert {path for path in loaded if path.startswith("/static/js/")} == named


def test_card_rings_its_point_and_zoom_is_kept(page, until):
    assert ring(page) is None
    zoomed = wheel(page, until)
    card = page.locator("section.harmful button.card").nth(1)
    place = int(card.get_attribute("data-id"))
    card.click()
    until(lambda: ring(page))
    assert ring(page) == pytest.approx(page.evaluate(PLACE, place))
    assert zoom(page) == pytest.approx(zoomed)
    assert card.get_attribute("aria-pressed") == "true"
    assert f"example={place}" in page.url


def test_point_highlights_its_card(page):
    listed = [int(card.get_attribute("data-id")) for card in page.locator("button.card").all()]
    x, y, place = page.evaluate(ALONE, listed)
    page.mouse.move(x - 2, y)
    page.mouse.click(x, y)
    page.locator(f'button.card[data-id="{place}"][aria-pressed="true"]').wait_for()
    assert "Chosen: number" in page.locator(".chosen").inner_text()


def test_point_of_a_listed_example_highlights_it_in_its_list(page):
    listed = page.locator("section.helpful button.card").first.get_attribute("data-id")
    x, y = page.evaluate(ON_SCREEN, page.evaluate(PLACE, int(listed)))
    page.mouse.move(x - 2, y)
    page.mouse.click(x, y)
    page.locator('section button.card[aria-pressed="true"]').wait_for()
    assert page.locator('section button.card[aria-pressed="true"]').get_attribute("data-id") == listed


def test_marks_lie_above_the_points(page, settled):
    page.get_by_role("radio", name="Loss", exact=True).click()  # whose points have other colours than the marks
    page.wait_for_function(f"{PLOT}.data[0].marker.cmin === 0")
    settled()
    marks = page.evaluate(f"{PLOT}.data.slice(1, 3).map((trace) => [trace.x, trace.y, trace.marker.color])")
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for xs, ys, colour in marks:
        seen = [
            picture.getpixel([round(at) for at in page.evaluate(ON_SCREEN, place)])
            for place in zip(xs, ys, strict=True)
        ]
        assert ImageColor.getrgb(colour) in seen, f"{colour} of {seen}"


def test_hover_shows_the_picture_of_the_point(shown):
    x, y, place = shown.evaluate(ALONE, [])
    shown.mouse.move(x - 2, y)
    shown.mouse.move(x, y)
    tip = shown.locator(".upstream-map .tip")
    tip.wait_for(state="visible")
    assert f"#{place}" in tip.inner_text()
    style = tip.locator(".picture").evaluate("(e) => [e.style.backgroundImage, e.style.backgroundPosition]")
    columns = static_files.columns(static_files.TILES_A_SHEET)
    assert "/app/static/" in style[0]
    assert style[1].replace("-0px", "0px") == f"-{place % columns * 56}px -{place // columns * 56}px".replace(
        "-0px", "0px"
    )
    address = style[0].split('"')[1]
    assert shown.evaluate("(url) => fetch(url).then((r) => r.headers.get('content-type'))", address) == "image/png"


def test_next_button_arrow_key_and_back(page, small, until, settled):
    picture = page.locator(".up-prediction img")
    page.locator(".st-key-step_next button").first.click()
    until(lambda: f"Test item {small.MISTAKE + 1}," in picture.get_attribute("alt"))
    settled()
    page.keyboard.press("ArrowRight")
    until(lambda: f"Test item {small.MISTAKE + 2}," in picture.get_attribute("alt"))
    settled()
    page.go_back()
    until(lambda: f"Test item {small.MISTAKE + 1}," in picture.get_attribute("alt"))


def test_two_visitors_at_once_keep_their_own_choices(page, elsewhere, address, small, until, settled, list_option):
    other = elsewhere(f"{address}/?run=small&query=1003&of=Finetuning")
    page.locator(".st-key-step_next button").first.click()
    list_option(other, "10")
    until(lambda: other.locator("button.card").count() > 10)
    settled()
    assert f"Test item {small.MISTAKE + 1}," in page.locator(".up-prediction img").get_attribute("alt")
    assert "Test item 1003," in other.locator(".up-prediction img").get_attribute("alt")
    assert page.locator("button.card").count() == 10
    assert page.get_by_role("radio", name="Pretraining").is_checked()
    assert other.get_by_role("radio", name="Finetuning").is_checked()


def test_to_another_page_and_back_is_one_step_with_the_same_run(watched, address, until):
    page = watched.open(f"{address}/?run=words")  # not the one that the explorer opens by itself
    run, steps = page.locator(".st-key-copy_link .root"), page.evaluate("history.length")
    page.get_by_role("link", name="Suspects", exact=True).click()
    until(lambda: "/suspects?" in page.url and "run=words" in page.url)
    until(lambda: run.get_attribute("data-run") == "words")
    assert page.evaluate("history.length") == steps + 1
    page.go_back()
    until(lambda: "/suspects" not in page.url and "run=words" in page.url)
    page.wait_for_selector("button.card")
    until(lambda: run.get_attribute("data-run") == "words")


def test_to_an_example_by_a_link_and_back_and_forth_is_one_step_each(page, until, settled):
    page.locator("section.helpful button.card").first.click()
    until(lambda: "example=" in page.url)
    settled()
    before = said(page)
    page.locator(".st-key-of_example a.up-way").first.click()
    page.wait_for_selector(".st-key-item .up-prediction")
    settled()
    there = said(page)
    page.go_back()
    page.wait_for_selector("button.card")
    until(lambda: said(page) == before)
    settled()
    page.go_forward()
    page.wait_for_selector(".st-key-item .up-prediction")
    until(lambda: said(page) == there)


def test_copied_link_reopens_the_view(page, elsewhere, until, settled, list_option):
    list_option(page, "10")
    until(lambda: page.locator("button.card").count() == 20)
    page.locator('button[data-cell="1-2"]').click()
    until(lambda: "cell=1-2" in page.url)
    settled()
    page.locator('button[data-group="1"]').click()
    until(lambda: "group=1" in page.url)
    settled()
    page.get_by_role("button", name="What 0 adds up from").click()
    until(lambda: "branch=0" in page.url and page.locator(".parts button.line").count() == 5)
    settled()
    page.locator("section.helpful button.card").nth(2).click()
    until(lambda: "example=" in page.url)
    settled()
    copy = elsewhere(page.url)
    assert said(copy) == said(page)
    for part in (".up-prediction", "section.helpful", "section.harmful", ".rows", ".strip"):
        assert copy.locator(part).inner_text() == page.locator(part).inner_text()
    assert ring(copy) == ring(page) is not None


def test_options_are_in_the_link_and_named_above_the_lists(page, elsewhere, until, settled, list_option):
    list_option(page, "Relative")
    until(lambda: "order=Relative" in page.url)
    settled()
    copy = elsewhere(page.url)
    assert said(copy) == said(page)
    assert copy.locator("section.helpful h3").inner_text().split("\n")[1] == "Helpful, relative"
    assert copy.locator("section.helpful").inner_text() == page.locator("section.helpful").inner_text()


def test_lasso_narrows_the_lists(page, until):
    page.locator('.modebar-btn[data-val="lasso"]').click()
    box = page.locator(".upstream-map .plot").bounding_box()
    x, y, w, h = box["x"], box["y"], box["width"], box["height"]
    page.mouse.move(x + 0.2 * w, y + 0.25 * h)
    page.mouse.down()
    for fx, fy in ((0.8, 0.25), (0.8, 0.75), (0.2, 0.75), (0.2, 0.27)):
        page.mouse.move(x + fx * w, y + fy * h, steps=6)
    page.mouse.up()
    chip = page.locator(".st-key-clear_region button").first
    chip.wait_for()
    assert "region=" in page.url
    assert 0 < int(chip.inner_text().split("Region: ")[1].split()[0]) < 60
    chip.click()
    until(lambda: "region=" not in page.url)


def test_narrow_page_does_not_scroll_sideways(watched, address):
    watched.page.set_viewport_size({"width": 390, "height": 844})
    page = watched.open(address)
    assert (
        page.evaluate("document.querySelector('.stMain').scrollWidth - document.querySelector('.stMain').clientWidth")
        <= 0
    )


def test_keyboard_reaches_a_card_and_stays_on_it(page, until):
    card = page.locator("section.helpful button.card").first
    card.focus()
    page.keyboard.press("Enter")
    until(lambda: ring(page))
    page.wait_for_timeout(300)
    assert page.locator("section.helpful button.card:focus").get_attribute("data-id") == card.get_attribute("data-id")


def test_letters_step_but_not_while_they_are_typed(page, small, until, settled):
    picture = page.locator(".up-prediction img")
    page.keyboard.press("j")
    until(lambda: f"Test item {small.MISTAKE + 1}," in picture.get_attribute("alt"))
    settled()
    page.keyboard.press("k")
    until(lambda: f"Test item {small.MISTAKE}," in picture.get_attribute("alt"))
    settled()
    field = page.locator(".st-key-find input")
    field.click()
    for key in ("j", "k", "j", "ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
    page.wait_for_timeout(500)
    assert field.input_value() == f"{small.MISTAKE}jkj"
    assert f"Test item {small.MISTAKE}," in picture.get_attribute("alt")


def test_a_bar_is_pressed_by_mouse_and_keyboard(page, until, settled):
    bars = page.locator(".st-key-histogram rect.pressable")
    count = bars.count()
    bars.first.focus()
    page.keyboard.press("Enter")
    chip = page.locator(".st-key-clear_bar button").first
    chip.wait_for()
    settled()
    assert "bar=" in page.url
    assert bars.first.get_attribute("aria-pressed") == "true"
    assert bars.count() == count
    # The empty space above a bar belongs to it.
    page.locator(".st-key-histogram rect.reach").nth(1).click(position={"x": 2, "y": 4})
    until(lambda: bars.nth(1).get_attribute("aria-pressed") == "true")
    settled()
    chip.click()
    until(lambda: "bar=" not in page.url)
