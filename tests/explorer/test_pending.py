"""A run that is shown before all of it is computed: every page draws, says what is coming, and shows it at last."""

from __future__ import annotations

import json
import os
import shutil

import psutil
import pytest

from explorer.jobs import demo

ALL_PAGES = ["", "item", "suspects", "compare", "trust", "learn", "notes", "try-it"]
STEP = {"step": "small: map", "fraction": 0.4, "done": [], "runs": {"small": True, "small-updated": False}}


@pytest.fixture
def root(small, tmp_path):
    small.write_run(tmp_path, pending=["map", "identity"])
    return tmp_path


@pytest.fixture
def computing(root):
    """This process in place of the one that computes, which says how far it is."""
    folder = root / ".computing"
    folder.mkdir()
    known = {"pid": os.getpid(), "born": psutil.Process().create_time(), "study": "digits"}
    (folder / "process.json").write_text(json.dumps(known))
    (folder / "progress.json").write_text(json.dumps(STEP))
    (folder / "log.txt").write_text("")
    yield folder
    shutil.rmtree(folder)


def listed(sent):
    return [card["id"] for column in sent["columns"] for card in column["cards"]]


def words(app):
    assert not app.exception
    said = [*app.markdown, *app.caption, *app.error, *app.info, *app.warning]
    return " ".join([*(str(e.value) for e in said), *(e.proto.text for e in app.get("progress"))]).replace("\\", "")


@pytest.mark.parametrize("page", ALL_PAGES)
def test_every_page_draws_and_says_what_is_coming(open_app, root, computing, page):
    said = words(open_app(root, page))
    assert (
        "Still being computed: the map with its neighbours, the scores by identity and the model small-updated." in said
    )
    assert "This appears here by itself. Now small: map: 40%" in said


def test_where_the_map_will_be_stands_that_it_comes(open_app, root, small, component):
    app = open_app(root)
    assert "The map is still to be computed. It appears here by itself." in words(app)
    before = listed(component(app, "cards"))
    small.add_map(root)
    app.run()
    assert "still to be computed. It appears" not in words(app)
    assert "written anew" not in words(app)
    assert component(app, "influence_map")["count"] == small.PRETRAIN
    assert listed(component(app, "cards")) == before


def test_the_page_is_drawn_again_by_itself_when_a_part_was_added(open_app, root, small, computing, monkeypatch):
    from explorer.panels.header import computing as panel

    opened, added = panel.read_manifest, []

    def as_it_comes(path):
        if not added:  # between the drawing of the header and the next look
            added.append(small.add_map(root))
        return opened(path)

    monkeypatch.setattr(panel, "read_manifest", as_it_comes)
    app = open_app(root)
    assert "the map with its neighbours" not in words(app)
    assert "Still being computed: the scores by identity and the model" in words(app)


def test_neighbours_of_an_item_are_said_to_come(open_app, root):
    assert "Its neighbours are still to be computed" in words(open_app(root, "item"))


def test_nothing_is_retrained_before_the_run_is_complete(open_app, root):
    assert "can be trained again when it is complete" in words(open_app(root, "trust"))


def test_a_run_that_nobody_completes_says_how_it_goes_on(open_app, root):
    said = words(open_app(root))
    assert "Run small is not complete: the map with its neighbours and the scores by identity will appear here" in said
    assert "the command that began the run goes on with it" in said


@pytest.mark.parametrize(
    ("log", "says"), [("Interrupted. ", ""), ("Error: no space", "The rest could not be computed")]
)
def test_a_computation_that_ended_before_can_be_resumed(open_app, root, computing, monkeypatch, log, says):
    (computing / "process.json").write_text(json.dumps({"pid": 0, "born": 0, "study": "definitions"}))
    (computing / "log.txt").write_text(log)
    begun = []
    monkeypatch.setattr(demo, "start", lambda root, study: begun.append(study))
    app = open_app(root)
    assert says in words(app)
    app.button(key="compute").click().run()
    assert begun == ["definitions"]
    assert not app.exception
