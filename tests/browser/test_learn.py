"""The Learn page in a real browser: the lesson from end to end, and the model in the plane under mouse and keyboard."""

from __future__ import annotations

import re
from typing import Any

import pytest

from explorer.ui.theme import MINUS

LEARN = "learn"


@pytest.fixture
def learn(watched, address):
    """Open the Learn page with what the URL says, with nothing left to draw."""

    def go(url: str = "") -> Any:
        watched.page.goto(f"{address}/{LEARN}?{url}")
        watched.page.wait_for_selector(".field svg, .st-key-lesson_card")
        settle(watched.page)
        return watched.page

    yield go
    assert watched.left == []
    assert watched.errors == []


def settle(page: Any) -> None:
    page.wait_for_function("document.querySelector('.stApp')?.dataset.testScriptState === 'notRunning'")
    page.wait_for_timeout(250)


def card(page: Any) -> str:
    return page.locator(".st-key-lesson_card").inner_text()


def wait_for(page: Any, text: str) -> None:
    page.locator(".st-key-lesson_card", has_text=text).wait_for()


def press(page: Any, key: str) -> None:
    page.locator(f".st-key-{key} button").click()


def said(page: Any) -> str:
    return page.locator(".right .result").last.inner_text()


def point(page: Any, place: Any) -> Any:
    return page.locator(f'.field g[data-place="{place}"]')


def numbers(text: str) -> list[float]:
    """The signed numbers of a sentence: predicted, measured."""
    return [plain_number(n) for n in re.findall(rf"[▲▼] ([+{MINUS}][\d.e{MINUS}]+)", text)]


def falls(text: str) -> list[float]:
    """By how much the loss was predicted to fall, and fell."""
    return [plain_number(n) for n in re.findall(r"f[ae]ll by ([\d.]+)", text)]


def plain_number(text: str) -> float:
    return float(text.replace(MINUS, "-"))


def test_whole_lesson_is_clicked_through(learn, list_option):
    page = learn("run=small")
    press(page, "lesson_begin")
    wait_for(page, "1 of 10")
    page.locator('.st-key-confusion button[data-cell="1-2"]').click()
    wait_for(page, "✓")
    assert "lesson=1" in page.url
    press(page, "lesson_next")

    wait_for(page, "2 of 10")
    settle(page)
    assert "cell=" not in page.url
    page.get_by_role("radio", name="Finetuning").click()
    wait_for(page, "✓")
    press(page, "lesson_next")

    wait_for(page, "3 of 10")
    settle(page)
    assert page.get_by_role("radio", name="Pretraining").is_checked()
    page.locator("section.helpful button.card").first.click()
    wait_for(page, "✗")
    page.locator("section.harmful button.card").first.click()
    wait_for(page, "✓")
    outlined = page.locator(".st-key-cards").first.evaluate("(e) => getComputedStyle(e).outlineStyle")
    assert outlined == "dashed"
    press(page, "lesson_next")

    wait_for(page, "4 of 10")
    settle(page)
    list_option(page, "20")
    wait_for(page, "✓")
    press(page, "lesson_next")

    wait_for(page, "5 of 10")
    settle(page)
    page.get_by_role("radio", name="Nearest").click()
    page.locator("section.single button.card").first.wait_for()
    settle(page)
    values = page.locator("section.single .value").all_inner_texts()
    scores = [plain_number(v.split()[-1]) for v in values]
    page.locator("section.single button.card").nth(scores.index(min(scores))).click()
    wait_for(page, "✓")
    press(page, "lesson_next")

    wait_for(page, "6 of 10")
    settle(page)
    sums = [plain_number(v) for v in page.locator(".rows .value.harmful").all_inner_texts()]
    page.locator(".rows .row > button.line").nth(sums.index(min(sums))).click()
    wait_for(page, "✓")
    press(page, "lesson_next")

    wait_for(page, "7 of 10")
    settle(page)
    press(page, "put")
    wait_for(page, "✓")
    press(page, "lesson_next")

    wait_for(page, "8 of 10")
    page.locator(".field").wait_for()
    settle(page)
    point(page, 3).focus()
    page.keyboard.press("l")
    wait_for(page, "✗")
    page.keyboard.press("l")
    wait_for(page, "✓")
    press(page, "lesson_next")

    wait_for(page, "9 of 10")
    page.locator(".field").wait_for()
    settle(page)
    for place in (3, 3, 6):  # leave one out, put it back, leave out another
        point(page, place).focus()
        page.keyboard.press("Delete")
        settle(page)
        if place == 3:
            assert "✓" not in card(page)
    wait_for(page, "✓")
    press(page, "lesson_next")

    wait_for(page, "10 of 10")
    settle(page)
    page.locator(".st-key-step_next button").first.click()
    wait_for(page, "Another prediction")
    settle(page)
    page.locator("section.harmful button.card").first.click()
    wait_for(page, "✓")
    press(page, "lesson_next")
    page.get_by_text("All ten steps are answered").wait_for()
    assert "lesson=" not in page.url


def test_link_to_a_step_keeps_what_else_it_says_and_can_be_left(learn):
    page = learn("run=small&lesson=3&query=1003")
    wait_for(page, "3 of 10")
    page.wait_for_function("document.querySelector('.st-key-find input')?.value === '1003'")
    press(page, "lesson_leave")
    page.locator(".st-key-lesson_begin button", has_text="Go on with step 3").wait_for()


def test_point_is_left_out_dragged_and_relabelled(learn):
    page = learn("run=small")
    shape = point(page, 3).locator(".shape")
    shape.click()
    alone = page.locator(".right .result").first
    page.locator(".right .result", has_text="Point 4 (■)").wait_for()
    box = shape.bounding_box()
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    predicted, measured = numbers(alone.inner_text())
    assert predicted < -0.3
    assert measured == pytest.approx(predicted, rel=0.2)

    page.keyboard.press("Delete")
    page.locator(".right .result", has_text="1 left out:").wait_for()
    assert numbers(said(page)) == pytest.approx([predicted, measured])
    page.wait_for_function("new URL(location).searchParams.get('plane') === '4=-0.85,0.77,1,out'")
    page.keyboard.press("Delete")
    page.locator(".right .result", has_text="Nothing is left out").wait_for()

    # A second press on the same point gives it the next class: its term acts, and what it did is another thing.
    page.mouse.click(*middle)
    page.locator(".right .result", has_text="Point 4 (◆)").wait_for()
    assert page.locator('.term.lit[data-term="g"]').count() > 0
    assert numbers(alone.inner_text()) != [predicted, measured]

    loss = page.locator(".answer").inner_text()
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 30, middle[1] + 40, steps=4)
    page.mouse.up()
    page.wait_for_function("(old) => !new URL(location).searchParams.get('plane')?.includes('-0.85,0.77')")
    assert page.locator(".answer").inner_text() != loss
    link = page.url
    shown = page.locator(".right").inner_text().split("Predicted, and measured")[0]

    # The link opens the same plane.
    again = learn(link.split("?")[1])
    assert again.locator(".answer").inner_text() in shown


def test_a_new_label_is_predicted_and_trained(learn):
    """Beside the label that the point had at first; and without a click, from a link."""
    page = learn("run=small")
    loss = plain_number(re.search(r"loss is ([\d.]+) nat", page.locator(".answer").inner_text())[1])
    point(page, 3).focus()
    page.keyboard.press("l")
    page.keyboard.press("l")
    line = page.locator(".right .result", has_text="Point 4 as ●, not ■")
    line.wait_for()
    predicted, measured = falls(line.inner_text())
    after = plain_number(re.search(r"loss is ([\d.]+) nat", page.locator(".answer").inner_text())[1])
    assert measured == pytest.approx(loss - after, abs=0.06), "the plane's own loss, trained again"
    assert predicted > measured > 0
    page.wait_for_function("new URL(location).searchParams.get('plane') === '4=-0.85,0.77,0'")
    again = learn(page.url.split("?")[1]).locator(".right .result", has_text="Point 4 as ●, not ■")
    again.wait_for()
    assert falls(again.inner_text()) == [predicted, measured]
    point(page, 3).focus()
    page.keyboard.press("l")
    again.wait_for(state="hidden")


def test_arrow_keys_move_and_the_slider_frees_the_shared_layer(learn):
    page = learn("run=small")
    before = page.locator(".answer").inner_text()
    point(page, "query").focus()
    page.keyboard.press("Shift+ArrowLeft")
    page.wait_for_function("new URL(location).searchParams.get('plane') === 'q=-0.8,0.66,0'")
    moved = page.locator(".answer").inner_text()
    assert moved != before
    page.locator(".hold input").focus()
    page.keyboard.press("Home")
    page.wait_for_function("new URL(location).searchParams.get('plane')?.startsWith('a=0.001')")
    assert "frozen" not in page.locator(".formula .lines").inner_text()
    assert page.locator(".hold .value").inner_text().endswith("= 0.001")
    assert page.locator(".term.lit").first.inner_text() == "F"
    freed = page.locator(".answer").inner_text()
    page.go_back()
    page.locator(".hold .value", has_text="∞").wait_for()
    assert page.locator(".answer").inner_text() == moved
    page.go_forward()
    page.locator(".hold .value", has_text="0.001").wait_for()
    assert page.locator(".answer").inner_text() == freed
    page.locator('.term[data-term="G"]').first.hover()
    page.locator(".words", has_text="no change of its parameters lowers it").wait_for()
    page.locator("summary").click()
    page.locator(".table tr").nth(21).wait_for()
    page.locator(".tools button", has_text="Start again").click()
    page.wait_for_function("!new URL(location).searchParams.get('plane')")
    assert page.locator(".answer").inner_text() == before
