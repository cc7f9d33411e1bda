"""The review queue on Suspects, by keys, in a real browser."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import expect

RUN = "small-checked"
"""Whose notes no other test counts."""


def asked(page, key):
    return parse_qs(urlsplit(page.url).query).get(key, [""])[0]


def test_keys_decide_and_go_on_but_not_while_one_types(watched, address):
    page = watched.page
    page.goto(f"{address}/suspects?run={RUN}")
    page.get_by_role("button", name="Review one by one").click()
    place = page.locator("h2.up-title", has_text=" decided")
    expect(place).to_contain_text("1 of ")
    decided = []
    for number, key in enumerate("drnk", start=2):
        decided.append(asked(page, "review"))
        page.locator(f"[data-of='{decided[-1]}']").wait_for(state="attached")  # until then nobody listens
        page.keyboard.press(key)
        expect(place).to_contain_text(f"{number} of ")
    expect(place).to_contain_text("3 decided")
    dropped, relabelled = asked(page, "basket").split(",")
    assert dropped == decided[0]
    assert relabelled.startswith(f"{decided[1]}-as-")
    # What is typed into a note decides nothing.
    page.get_by_role("button", name="Note on #").click()
    page.get_by_role("textbox", name="Note").press_sequentially("drink")
    page.wait_for_timeout(500)
    expect(place).to_contain_text("5 of ")
    expect(place).to_contain_text("3 decided")
    page.keyboard.press("Escape")
    page.go_back()
    expect(place).to_contain_text("4 of ")
    page.get_by_role("button", name="Back to the list").click()
    page.get_by_test_id("stDataFrame").wait_for()
    assert watched.errors == []
