"""The Explore page on a run of texts, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest

from explorer.ui import escape


def wait(page: Any, script: str, argument: Any = None) -> None:
    page.wait_for_function(script, arg=argument)


def passage(page: Any, sign: str = "helpful") -> Any:
    return page.locator(f"section.{sign} .passage").first


def shaded(page: Any) -> int:
    return page.locator("section .passage .share").count()


def test_tokens_are_shaded_by_sign_and_told_on_hover(shown_texts):
    assert shaded(shown_texts) > 20
    fill = "(e) => getComputedStyle(e).backgroundImage"
    assert shown_texts.locator("section .passage .share.helpful").first.evaluate(fill) == "none"
    # Not by colour alone: harmful tokens are striped.
    assert "repeating-linear-gradient" in shown_texts.locator("section .passage .share.harmful").first.evaluate(fill)
    title = passage(shown_texts).locator(".share").first.get_attribute("title")
    assert title[0] in "▲▼"
    assert title.endswith("nat of the score")
    assert "Largest shares" in shown_texts.locator("section .spoken").first.inner_text()


def test_switch_shows_plain_texts_and_is_in_the_link(texts, elsewhere, list_option):
    list_option(texts, "Plain")
    texts.locator("section .passage .share").first.wait_for(state="detached")
    assert "shading=Plain" in texts.url
    assert texts.locator("section .passage .shared").count() > 0
    copy = elsewhere(texts.url)
    assert shaded(copy) == 0
    assert copy.locator("section.helpful").inner_text() == texts.locator("section.helpful").inner_text()


def test_long_texts_open_in_place_and_short_ones_are_whole(texts, list_option):
    list_option(texts, "20")
    # The longer list stands, so that no card is drawn anew below.
    texts.wait_for_function("document.querySelector('.stApp').dataset.testScriptState === 'notRunning'")
    texts.wait_for_timeout(500)
    texts.locator("section button.more:visible").first.wait_for()
    card = texts.locator("section li.text", has=texts.locator("button.more:visible")).first
    tall = "(e) => e.querySelector('.passage').getBoundingClientRect().height"
    before, address = card.evaluate(tall), texts.url
    button = card.locator("button.more")
    button.focus()
    texts.keyboard.press("Enter")
    assert button.inner_text() == "less"
    assert button.get_attribute("aria-expanded") == "true"
    assert card.evaluate(tall) > before
    assert "not read by the model" in card.inner_text()
    assert texts.url == address
    whole = "(all) => all.every((e) => e.querySelector('.more:not([hidden])') || e.querySelector('.passage')"
    assert texts.locator("section li.text").evaluate_all(f"{whole}.scrollHeight <= e.clientHeight + 2)")


def test_opened_text_stays_open_when_a_card_is_pressed(texts, settled_texts, list_option):
    list_option(texts, "20")
    texts.locator("section button.more:visible").first.wait_for()
    settled_texts()
    texts.locator("section button.more:visible").first.click()
    texts.locator("section.harmful button.card").first.click()
    texts.locator('button.card[aria-pressed="true"]').wait_for()
    assert texts.locator("section .passage.open").count() == 1


def test_words_filter_the_list_and_arrows_step_through_the_hits(texts, settled_texts):
    find = texts.locator(".st-key-find input")
    find.fill("meadow")
    find.press("Enter")
    chip = texts.locator(".st-key-clear_words button").first
    chip.wait_for()
    assert "Words “meadow”: 5 items" in chip.inner_text()
    settled_texts()
    assert "words=meadow" in texts.url
    assert texts.locator(".strip button").count() == 5
    first = texts.locator('.strip button[aria-current="true"]').get_attribute("data-id")
    texts.locator(".st-key-step_next button").first.click()
    wait(texts, "(id) => new URL(location).searchParams.get('query') === id", str(int(first) + 8))
    chip.click()
    wait(texts, "() => !new URL(location).searchParams.has('words')")


def test_list_shows_sentence_and_both_topics(shown_texts):
    current = shown_texts.locator('.strip button[aria-current="true"]').inner_text()
    assert "about rivers" in current
    assert "9 ✗ · true 8" in current


def test_map_hover_shows_title_and_sentence(shown_texts):
    box = shown_texts.locator(".upstream-map .plot").bounding_box()
    point = shown_texts.evaluate("""() => {
      const plot = document.querySelector('.upstream-map .plot'), cloud = plot.data[0], layout = plot._fullLayout;
      const at = (axis, value) => axis._offset + axis.l2p(value);
      const inside = cloud.customdata.findIndex((id, i) => id % 4 && at(layout.xaxis, cloud.x[i]) > 60
        && at(layout.yaxis, cloud.y[i]) > 80);
      return [at(layout.xaxis, cloud.x[inside]), at(layout.yaxis, cloud.y[inside])];
    }""")
    shown_texts.mouse.move(box["x"] + point[0] - 2, box["y"] + point[1])
    shown_texts.mouse.move(box["x"] + point[0], box["y"] + point[1])
    tip = shown_texts.locator(".upstream-map .tip")
    tip.locator(".text", has_text="about rivers").wait_for()
    assert "#" in tip.inner_text()


def test_more_classes_open_in_place(texts):
    assert texts.locator(".rows .row > button.line:visible").count() == 10
    more = texts.locator(".root > button.more")
    assert more.inner_text() == "5 more"
    more.click()
    assert texts.locator(".rows .row > button.line:visible").count() == 15
    assert more.inner_text() == "fewer"


def test_nearest_is_one_list_with_scores(texts, settled_texts):
    texts.get_by_role("radio", name="Nearest", exact=True).click()
    texts.locator("section.single").wait_for()
    settled_texts()
    assert "ranking=Nearest" in texts.url
    assert texts.locator("section.single button.card").count() == 10
    assert all(value[0] in "▲▼" for value in texts.locator("section.single .value").all_inner_texts())


def test_hostile_texts_are_shown_as_text(watched, address, hostile):
    dialogs = []
    watched.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page = watched.open(f"{address}/?run=words-hostile")
    shown = escape.visible(hostile)
    assert passage(page).evaluate("(e) => e.textContent").startswith(shown)
    assert passage(page).evaluate("(e) => e.innerHTML.includes('�')") is False
    for part in (".up-text p", ".strip .text"):
        assert page.locator(part).first.evaluate("(e) => e.textContent").startswith(shown[:100])
    assert page.locator("img[src=x]").count() == 0
    assert page.locator(".passage").first.get_attribute("dir") == "auto"
    assert dialogs == []
    assert watched.left == []
    assert watched.errors == []


@pytest.mark.parametrize("run", ["words", "words-hostile"])
def test_narrow_page_does_not_scroll_sideways(watched, address, run):
    watched.page.set_viewport_size({"width": 390, "height": 844})
    page = watched.open(f"{address}/?run={run}&k=20")
    script = "document.querySelector('.stMain').scrollWidth - document.querySelector('.stMain').clientWidth"
    assert page.evaluate(script) <= 0
    wide = "(all) => all.filter((e) => e.scrollWidth > e.clientWidth + 1).length"
    assert page.locator(".passage").evaluate_all(wide) == 0
