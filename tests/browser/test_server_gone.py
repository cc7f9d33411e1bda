"""A server that is stopped and started again under an open page."""

from __future__ import annotations


def test_the_page_says_so_and_comes_back_as_it_was(small, tmp_path, server, browser):
    small.write_run(tmp_path, "small")
    free_port, serving = server
    port, page = free_port(), browser.new_page()
    with serving(tmp_path, port) as address:
        page.goto(f"{address}/?run=small&query=1003&k=10")
        page.wait_for_selector("button.card")
        page.wait_for_timeout(500)
        before = page.locator("section.helpful").inner_text()
    page.get_by_role("dialog", name="Connection error").wait_for(timeout=20000)
    with serving(tmp_path, port):
        page.get_by_text("The explorer was started again").wait_for(timeout=60000)
        page.wait_for_function("document.querySelector('.stApp').dataset.testScriptState === 'notRunning'")
        assert page.get_by_role("dialog").count() == 0
        assert page.locator("section.helpful").inner_text() == before
        page.locator(".st-key-step_next button").first.click()
        page.wait_for_url("**query=1004**", timeout=20000)
    page.close()
