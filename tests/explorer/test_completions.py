"""A run of a language model that answers, whose predictions have no class: pages draw it, and spans are chosen."""

from __future__ import annotations

import pytest

from influence.live import live as module


@pytest.fixture
def answering(completions, monkeypatch):
    """The run, whose study can be asked."""
    run, exhibit = completions
    monkeypatch.setattr(module, "exhibit_of", lambda run, function=None: exhibit)
    monkeypatch.setattr(live, "_warm_up", lambda opened: None)  # a thread would outlive the test
    return run


PAGES = ["", "item", "suspects", "compare", "trust", "try-it", "learn", "notes"]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_draws_without_classes(answering, open_app, page):
    app = open_app(answering.path.parent, page=page)
    assert not app.exception
    assert not app.error
    assert [warning.value for warning in app.warning if "minimum" not in warning.value] == []
