"""Try it, what if and retraining in a browser, on runs that can be asked: drawing, writing, blanking, leaving out."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import expect

REPOSITORY = Path(__file__).parents[2]
SLOW = 120_000
"""Milliseconds that a first answer may take: curvature and index are made before it."""
COMPUTES = """
import json, sys
from influence.cli import main
from influence.precompute import steps
steps.map_of = lambda vectors, others, seed: (vectors[:, :2], others[:, :2], "two coordinates")
for command in json.loads(sys.argv[1]):
    sys.argv = ["upstream", "precompute", *command]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""
"""`upstream precompute`, several times in one process, and without UMAP, which takes seconds."""
MARKUP = "a <img src=x onerror=alert(1)> **dog** $x$ <script>alert(2)</script> barks"


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, serve: Any) -> Iterator[str]:
    """Where two small computed runs are served: digits, to draw, and texts of one's own."""
    root, files = tmp_path_factory.mktemp("asked"), tmp_path_factory.mktemp("texts")
    texts = [str(written(files / f"{name}.csv", count)) for name, count in (("old", 60), ("new", 30), ("test", 10))]
    own = ["--texts", *texts, "--epochs", "2", "--name", "words"]
    commands = [[*some, "--finetuning", "frozen", "--runs", str(root), "--quiet"] for some in (["digits"], own)]
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    given = [sys.executable, "-c", COMPUTES, json.dumps(commands)]
    subprocess.run(given, check=True, env={**os.environ, "PYTHONPATH": path})
    with serve(root) as address:
        yield address


def written(path: Path, count: int) -> Path:
    draw = random.Random(count)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for _ in range(count):
            label, names = draw.choice([("pet", ["cat", "dog", "hen"]), ("tool", ["saw", "axe", "pen"])])
            table.writerow([f"a {draw.choice(names)} {draw.choice(['eats', 'lies', 'is', 'runs'])} here", label])
    return path


@pytest.fixture
def ask(watched: Any, asked: str) -> Iterator[Any]:
    """Open Try it on a run; nothing left the machine and nothing was wrong on the console when the test ends."""

    def go(run: str, more: str = "") -> Any:
        watched.page.goto(f"{asked}/try-it?run={run}{more}")
        watched.page.get_by_text("Ask with").wait_for()
        return watched.page

    yield go
    assert watched.left == []
    assert watched.errors == []


def answered(page: Any) -> None:
    page.locator("button.card").first.wait_for(timeout=SLOW)
    drawn(page)


def drawn(page: Any) -> None:
    page.wait_for_function(
        "document.querySelector('.stApp')?.dataset.testScriptState === 'notRunning'", timeout=SLOW
    )  # fmt: skip


def paper(page: Any) -> Any:
    return page.get_by_role("img", name="Sheet to draw on")


def stroke(page: Any, points: list[tuple[float, float]]) -> None:
    box = paper(page).bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for place in at[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def title(page: Any) -> str:
    return page.get_by_role("heading", name="The model says").inner_text()


def test_a_digit_is_drawn_ringed_compared_and_taken_along(ask):
    page = ask("digits-frozen")
    paper(page).wait_for()
    stroke(page, [(0.3, 0.2), (0.7, 0.2), (0.45, 0.8)])
    answered(page)
    assert title(page) in [f"The model says “{digit}”. Why?" for digit in range(5, 10)]
    first = page.locator("button.card").first
    first.click()
    page.get_by_role("link", name="Which predictions example").wait_for()
    assert page.locator("button.card").first.get_attribute("aria-pressed") == "true"
    # With what it was before another stroke, and with a test prediction.
    stroke(page, [(0.35, 0.5), (0.65, 0.5)])
    page.wait_for_timeout(500)
    answered(page)
    page.get_by_role("combobox", name="Compare with").click()
    page.keyboard.press("ArrowDown")
    page.get_by_role("option", name="asked before").first.click()
    page.get_by_text("Rank correlation over all").wait_for()
    page.locator(".upstream-scatter .main-svg").first.wait_for()
    with page.expect_download() as coming:
        page.get_by_role("button", name="Report").click()
    assert "sheet=" in Path(coming.value.path()).read_text(encoding="utf-8")
    copy = page.context.browser.new_page()
    copy.goto(page.url)
    answered(copy)
    assert title(copy) == title(page)
    scores = "all => all.slice(0, 10).map((value) => value.textContent)"
    assert copy.locator("button.card .value").evaluate_all(scores) == page.locator("button.card .value").evaluate_all(
        scores
    )
    copy.close()


def picture(kind: str = "PNG") -> bytes:
    image = Image.new("L", (60, 60), 255)
    ImageDraw.Draw(image).line([(15, 10), (45, 10), (25, 50)], fill=0, width=6)
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def bomb() -> bytes:
    """A PNG that says it is 60,000 pixels a side."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0), b"IDAT" + zlib.compress(b"")]
    packed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return picture()[:8] + b"".join(packed)


def upload(page: Any, name: str, content: bytes) -> None:
    kind = "image/png" if name.endswith("png") else "text/html"
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": kind, "buffer": content})


def test_a_picture_is_uploaded_and_a_hostile_one_refused(ask):
    page = ask("digits-frozen", "&way=Upload")
    upload(page, "a seven.png", picture())
    answered(page)
    assert title(page)
    for name, content, says in (
        ("<img src=x onerror=alert(1)>.png", b"<script>alert(1)</script>", "no picture"),
        ("cut.png", picture()[:60], "cut.png is no picture"),
        ("huge.png", bomb(), "too many pixels"),
    ):
        upload(page, name, content)
        page.get_by_text(says).wait_for(timeout=SLOW)
        drawn(page)  # a file that is given while the page is drawn again may be lost
        assert page.locator("[data-testid=stException]").count() == 0
    upload(page, "page.html", b"<h1>no</h1>")
    page.get_by_text("not allowed").wait_for()
    assert page.locator("img[onerror]").count() == 0


def test_a_sentence_with_markup_stays_text_and_is_in_the_link(ask, watched, asked):
    page = ask("words-frozen")
    page.get_by_role("textbox", name="Text").fill(MARKUP)
    page.keyboard.press("Control+Enter")
    answered(page)
    said, shown = title(page), page.locator(".up-prediction .up-text").inner_text()
    assert "<script>alert(2)</script>" in shown
    assert "**dog**" in shown
    assert page.locator(".up-prediction script, .up-prediction img").count() == 0
    assert "are not in the model's vocabulary" in page.locator("[data-testid=stMain]").inner_text()
    copy = page.context.browser.new_page()
    copy.goto(page.url)
    answered(copy)
    assert copy.get_by_role("textbox", name="Text").input_value() == MARKUP
    assert title(copy) == said
    copy.close()


def test_a_test_item_is_changed_and_another_is_taken(ask):
    page = ask("words-frozen", "&way=Test+item&start=3")
    box = page.get_by_role("textbox", name="Text")
    answered(page)
    before = box.input_value()
    assert before
    box.fill("a saw lies here")
    page.keyboard.press("Control+Enter")
    page.wait_for_function("location.search.includes('a+saw+lies+here') || location.search.includes('a%20saw')")
    page.goto(page.url)
    answered(page)
    expect(box).to_have_value("a saw lies here")


EFFECT, HEAT, BLANK = ".up-effect", ".heat", ".blank"


def edit_in_link(page: Any, holds: str) -> None:
    page.wait_for_function("words => decodeURIComponent(location.search).includes(words)", arg=holds)
    answered_edit(page)


def answered_edit(page: Any) -> None:
    page.wait_for_timeout(300)
    drawn(page)


def test_a_part_of_a_picture_is_blanked_from_a_card_by_mouse_and_by_keys(watched, asked):
    page = watched.page
    page.goto(f"{asked}/?run=digits-frozen")
    page.locator(".what-if").first.click()
    brush = page.get_by_role("group", name="Arrow keys put a blank part")
    brush.wait_for(timeout=SLOW)
    answered_edit(page)
    box = brush.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.5 * box["height"], steps=6)
    page.mouse.up()
    edit_in_link(page, "-mask-8.8.9.7")
    assert "a part blank (9 by 7 pixels at 8, 8)" in page.locator(EFFECT).first.inner_text()
    brush.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    edit_in_link(page, "-mask-9.8.9.6")
    blank = page.locator(BLANK)
    assert blank.evaluate("element => element.style.background").startswith("rgb")
    page.locator("label").filter(has_text="Where in it").click()
    page.locator(HEAT).wait_for(timeout=SLOW)
    assert page.locator(f"{HEAT} .helpful, {HEAT} .harmful").count() == 49
    page.locator("[data-key^=relabel]").first.click()
    edit_in_link(page, "-as-")
    assert blank.is_hidden()
    page.go_back()
    edit_in_link(page, "-mask-9.8.9.6")
    assert blank.is_visible()
    assert page.locator("[data-testid=stException]").count() == 0
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
    page.set_viewport_size({"width": 390, "height": 800})
    answered_edit(page)
    main = "document.querySelector('.stMain')"
    assert page.evaluate(f"{main}.scrollWidth - {main}.clientWidth") <= 0
    page.set_viewport_size({"width": 1440, "height": 1000})


def test_a_word_is_struck_by_a_press_and_comes_back(watched, asked):
    page = watched.page
    page.goto(f"{asked}/item?run=words-frozen&what_if=true&example=3")
    word = page.locator("button.word").nth(1)
    word.wait_for(timeout=SLOW)
    answered_edit(page)
    said = word.inner_text()
    word.press("Enter")
    edit_in_link(page, f"3-strike-{said}")
    assert f"without the word “{said}”" in page.locator(EFFECT).first.inner_text()
    expect(word).to_have_attribute("aria-pressed", "true")
    word.click()
    page.wait_for_function("!location.search.includes('strike')")
    expect(word).to_have_attribute("aria-pressed", "false")


def test_retraining_is_started_cancelled_and_finished(watched, asked):
    page = watched.page
    page.goto(f"{asked}/suspects?run=digits-frozen")
    page.get_by_role("button", name="Put the first 10 into the basket").click()
    begin = page.get_by_role("button", name="Really retrain without these")
    begin.click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled. What was finished is kept").wait_for(timeout=20_000)
    begin.click()
    page.get_by_text("Really trained on from the solution without these 10").wait_for(timeout=SLOW)
    effect = page.locator(".up-effect").first.inner_text()
    assert "predicted" in effect
    assert "measured" in effect
