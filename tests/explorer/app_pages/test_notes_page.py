"""Notes on the pages: written on Explore and Item, marked on cards, listed on Notes."""

from __future__ import annotations

import pytest

from explorer.export import notes
from explorer.runs import queries
from explorer.ui import state
from influence import Run


@pytest.fixture
def root(small, tmp_path):
    small.write_run(tmp_path, "small")
    return tmp_path


def markup(app):
    return " ".join(element.proto.body for element in app.get("html"))


def write(app, key, table, number, tags, text):
    """Open the popover, fill the form in, save."""
    app.session_state[f"{key}_note"] = True
    app.run()
    own = f"{key}_note-small-{table}-{number}"
    app.pills(key=f"{own}-tags").set_value(tags)
    app.text_area(key=f"{own}-text").set_value(text)
    return next(button for button in app.button if button.label == "Save").click().run()


def test_a_note_on_the_prediction_and_one_on_the_ringed_example(open_app, root, small, component):
    app = open_app(root)
    shown = component(app, "cards")["columns"][0]["cards"][0]
    app = write(app, "query", "queries", small.MISTAKE, ["shortcut"], "why?")
    assert not app.exception
    app.query_params["example"] = shown["id"]
    app = write(app.run(), "example", "pretrain", shown["id"], ["duplicate", "unclear"], "")
    run = Run.open(root / "small")
    found = {key: note.said for key, note in notes.read(run).latest.items()}
    assert found == {("queries", small.MISTAKE): "shortcut: why?", ("pretrain", int(shown["id"])): "duplicate, unclear"}
    cards = [card for column in component(app, "cards")["columns"] for card in column["cards"]]
    assert [card["noted"] for card in cards if "noted" in card] == ["duplicate, unclear"]
    assert f"example={shown['id']}" in notes.read(run).latest["pretrain", int(shown["id"])].view


def test_a_note_of_another_visitor_is_not_lost(open_app, root, small):
    run = Run.open(root / "small")
    app = open_app(root)
    app.session_state["query_note"] = True
    app.run()
    notes.write(run, notes.Note(queries.QUERIES, small.MISTAKE, ("unclear",), "theirs"))
    own = f"query_note-small-queries-{small.MISTAKE}"
    app.text_area(key=f"{own}-text").set_value("mine")
    app = next(button for button in app.button if button.label == "Save").click().run()
    assert "theirs" in app.warning[0].value
    assert notes.read(run).latest["queries", small.MISTAKE].text == "mine"
    assert b"theirs" in notes.file(run).read_bytes()


def test_a_note_that_cannot_be_kept_stays_in_the_form(open_app, root, small, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(notes, "_append", full)
    app = open_app(root)
    app = write(app, "query", "queries", small.MISTAKE, [], "typed")
    assert not app.exception
    assert "cannot be kept" in app.warning[0].value
    assert "the disk is full" in app.warning[0].value
    assert app.text_area(key=f"query_note-small-queries-{small.MISTAKE}-text").value == "typed"


def test_a_damaged_line_is_told_and_the_others_are_listed(open_app, root):
    run = Run.open(root / "small")
    notes.write(run, notes.Note("pretrain", 3, ("mislabelled",), "<img src=x onerror=alert(1)>"))
    with notes.file(run).open("a") as file:
        file.write("{half\n")
    app = open_app(root, page=state.NOTES_PAGE)
    assert not app.exception
    assert "damaged in line 2" in app.warning[0].value
    assert "&lt;img src=x onerror=alert(1)&gt;" in markup(app)
    assert "<img src=x" not in markup(app)
    assert "example=3" in markup(app)


def test_notes_are_filtered_by_tag_and_an_empty_page_says_how(open_app, root):
    app = open_app(root, page=state.NOTES_PAGE)
    assert "Nothing is noted yet" in app.markdown[0].value
    run = Run.open(root / "small")
    notes.write(run, notes.Note("pretrain", 3, ("mislabelled",), "a swapped label"))
    notes.write(run, notes.Note("queries", 1003, ("unclear",), "two"))
    notes.write(run, notes.Note("gone", 9, ("unclear",), "three"))
    app = open_app(root, page=state.NOTES_PAGE, tag="unclear")
    assert not app.exception
    assert "two" in markup(app)
    assert "three" in markup(app)
    assert "a swapped label" not in markup(app)
    assert notes.rows(run, notes.read(run))["id"].tolist() == [9, 1003, 3]


def test_item_has_a_note_too(open_app, root):
    app = write(open_app(root, page=state.ITEM_PAGE, example="7"), "item", "pretrain", 7, [], "seen")
    assert not app.exception
    assert notes.read(Run.open(root / "small")).latest["pretrain", 7].text == "seen"
