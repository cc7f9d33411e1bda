"""A page that fails says so, of which run and why, and the other pages stand."""

from __future__ import annotations

import pytest

from explorer.app_pages import notes
from explorer.panels.header import failure

CALLOUT = failure.draw


def test_a_page_that_fails_is_a_callout(open_app, small_root, monkeypatch, caplog):
    def broken(run):
        raise ZeroDivisionError("*nobody* <b>foresaw</b> this")

    monkeypatch.setattr(failure, "draw", CALLOUT)
    monkeypatch.setattr(notes, "draw", broken)
    app = open_app(small_root, page="notes")
    assert not app.exception
    (said,) = [error.value for error in app.error]
    assert said.startswith("This page cannot be drawn of run small (ZeroDivisionError\\: \\*nobody\\*")
    assert "Traceback" in caplog.text
    assert not open_app(small_root).error


def test_in_tests_it_is_raised(small_root):
    with pytest.raises(ZeroDivisionError):
        failure.draw(None, ZeroDivisionError())
