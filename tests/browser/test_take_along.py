"""What a visitor takes along, in a real browser: a report that opens offline, the map as PNG and SVG, notes."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = "(all) => all.map((button) => button.ariaLabel ?? button.innerText)"


def downloaded(page, button) -> Path:
    with page.expect_download() as coming:
        button.click()
    return Path(coming.value.path())


def test_the_report_opens_offline_and_is_the_view(page, browser, until, settled, list_option):
    list_option(page, "10")
    until(lambda: page.locator("button.card").count() == 20)
    settled()
    saved = downloaded(page, page.get_by_role("button", name="Report"))
    html = saved.with_suffix(".html")
    html.write_bytes(saved.read_bytes())
    context = browser.new_context(offline=True)
    asked = []
    copy = context.new_page()
    copy.on("request", lambda request: asked.append(request.url))
    copy.goto(html.as_uri())
    assert copy.locator("li.card").count() == 20
    assert copy.locator("li.card b").all_inner_texts() == page.locator("button.card .label").all_inner_texts()
    assert copy.locator("img").evaluate_all("(all) => all.every((image) => image.naturalWidth > 0)")
    link = copy.locator(".link a").get_attribute("href")
    assert "run=small" in link
    assert "k=10" in link
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    context.close()


def test_the_map_as_png_and_svg_holds_its_points(page):
    tools = page.locator(".upstream-map .tools")
    picture = Image.open(io.BytesIO(downloaded(page, tools.get_by_role("button", name="PNG")).read_bytes()))
    pixels = np.asarray(picture.convert("RGB"), dtype=int)[150:]  # below what is written above it
    for red, green, blue in ((0x1F, 0x6F, 0xB4), (0xC2, 0x56, 0x0A)):
        assert (np.abs(pixels - [red, green, blue]).sum(axis=2) < 12).sum() > 100, "triangles of either colour"
    drawing = downloaded(page, tools.get_by_role("button", name="SVG")).read_text(encoding="utf-8")
    assert len(re.findall(r'<path class="point ', drawing)) == 60 + 10 + 1
    assert "Run small: pretraining examples" in drawing
    assert "<script" not in drawing


def test_a_table_leaves_only_by_our_own_button(page, until, settled):
    page.get_by_text("Tables behind this page").click()
    table = page.get_by_test_id("stDataFrame").first
    table.wait_for()
    settled()
    table.hover()
    offered = page.get_by_test_id("stElementToolbarButton")
    until(lambda: offered.count())
    assert not [label for label in offered.locator("button").evaluate_all(LABELS) if re.search("ownload|CSV", label)]
    content = downloaded(page, page.locator(".st-key-csv_lists button").first).read_bytes()
    assert content.startswith(b"\xef\xbb\xbflist,rank,id,label,")
    assert content.count(b"\r\n") == 11


def test_a_note_is_kept_and_marked_on_its_card(page, until, settled):
    card = page.locator("section.helpful button.card").first
    card.click()
    button = page.locator(".st-key-example_note button").first
    button.click()
    form = page.locator("[data-testid=stPopoverBody]")
    form.get_by_role("button", name="duplicate").click()
    form.get_by_role("textbox").fill("<b>twice</b>")
    form.get_by_role("button", name="Save").click()
    until(lambda: card.locator(".mark", has_text="✎").count() == 1)
    assert card.locator(".mark", has_text="✎").get_attribute("title") == "Noted: duplicate: <b>twice</b>"
    settled()
    assert "duplicate" in button.inner_text()
