"""Votes of rules on Suspects and Item, by AppTest, with a fake's answers."""

from __future__ import annotations

import pytest
from fake_live import FakeLive

from explorer.app_pages import suspects
from explorer.jobs import live
from explorer.panels.repair import votes
from explorer.panels.retraining import retrain
from explorer.view import edits
from influence import Run
from influence.live import NONE, RELABEL, SWITCH_OFF, TAKE_BACK, Alteration

RULE, THIRDS = "always", "thirds, -as-"
OFF = Alteration(SWITCH_OFF, "pretrain", NONE, THIRDS)
BACK = Alteration(TAKE_BACK, "pretrain", 3, THIRDS)


@pytest.fixture
def root(small, tmp_path):
    small.write_run(tmp_path, "small", voted=True)
    return tmp_path


@pytest.fixture
def run(root, monkeypatch):
    found = Run.open(root / "small")
    monkeypatch.setattr(live, "opened", lambda _: FakeLive(found))
    return found


def html(app):
    return " ".join(element.proto.body for element in app.get("html"))


def kept(app, run):
    """The basket in the link."""
    text = app.query_params["basket"]
    return edits.parse(text if isinstance(text, str) else text[0], run)[0]


def test_rules_and_votes_are_listed_by_what_taking_them_back_does(open_app, root, run):
    app = open_app(root, "suspects", repair="Votes")
    assert not app.exception
    rules, single = (table.value for table in app.dataframe[:2])
    assert rules["rule"].tolist() == [RULE, THIRDS]  # it has more votes, and more falls
    assert rules["votes"].tolist() == [60, 20]
    assert rules["the only vote"].tolist() == [40, 0]
    assert single["id"].iloc[0] == 59  # the last vote
    assert {"rule", "votes for", "other votes"} <= set(single)
    app.button(key="put_rules").click().run()
    app.button(key="put_votes").click().run()
    found = kept(app, run)
    assert [each.kind for each in found].count(TAKE_BACK) == 10
    assert found[0] == Alteration(SWITCH_OFF, "pretrain", NONE, RULE)
    assert not app.exception


def test_without_votes_there_is_no_such_repair(open_app, small_root):
    app = open_app(small_root, "suspects")
    assert not app.exception
    assert suspects.repairs(Run.open(small_root / "small")) == ("Remove", "Relabel", "Add")


def test_each_vote_of_an_example_is_a_bar_and_a_press_from_the_basket(open_app, root, run, component):
    app = open_app(root, "item", example="3", what_if="true", edit=edits.text_of([BACK], run))
    assert not app.exception
    assert f"{RULE}: 0; {THIRDS}: 0" in html(app)
    groups = {group["name"]: group["rows"] for group in component(app, "alternatives")["groups"]}
    assert [row["name"] for row in groups["without the vote of"]] == [f"{RULE}: 0", f"{THIRDS}: 0"]
    assert [row["pressed"] for row in groups["without the vote of"]] == [False, True]
    assert not any(row.get("own") for row in groups["if its label were"])  # of an average any class is another
    assert "without the vote of “thirds, -as-”" in html(app)
    app.button(key="what_if_basket").click().run()
    assert kept(app, run) == [BACK]


@pytest.mark.parametrize("some", [[OFF], [BACK], [BACK, Alteration(TAKE_BACK, "pretrain", 3, RULE), OFF]])
def test_the_basket_keeps_votes_in_the_link(run, some):
    assert edits.parse(edits.text_of(some, run), run) == (some, [])
    assert edits.merged([], some) == (some, [])


@pytest.mark.parametrize("text", ["off-nobody", "3-back-nobody", "1-back-thirds%2C -as-", "in-finetune,off-always"])
def test_votes_that_there_are_not_are_told(run, text):
    found, notices = edits.parse(text, run)
    assert found == []
    assert notices


def test_another_edit_of_an_example_replaces_its_votes_taken_back(run):
    label = Alteration(RELABEL, "pretrain", 3, "1")
    assert edits.merged([BACK, OFF], [label]) == ([OFF, label], [BACK])
    assert edits.words(OFF, run) == "rule “thirds, -as-” switched off"
    assert edits.words(BACK, run).endswith("without the vote of “thirds, -as-”")


def test_really_training_again_names_votes_and_rules(run):
    found = retrain.arguments(run, [BACK, OFF], "solution")
    assert found[4:8] == ["--take-back", f"pretrain:3={THIRDS}", "--switch-off", f"pretrain:{THIRDS}"]


def test_what_the_other_rules_say_of_an_example_stands_beside_a_vote(run):
    table = run.votes("pretrain")
    some = table[(table["example"] == 3) & (table["rule"] == THIRDS)]
    assert votes.others(table, some) == ["0 (1)"]
    assert votes.others(table, table[table["example"] == 1]) == ["none"]


def test_names_of_rules_stay_text(open_app, small, tmp_path, monkeypatch, component):
    bad = "<b>**x**</b>"
    found = small.write_run(tmp_path, "small", voted=True, hostile=bad)
    monkeypatch.setattr(live, "opened", lambda _: FakeLive(found))
    app = open_app(tmp_path, "item", example="3", what_if="true")
    assert not app.exception
    assert bad not in html(app)
    assert "&lt;b&gt;**x**&lt;/b&gt;always" in html(app)
    app = open_app(
        tmp_path,
        "suspects",
        repair="Votes",
        basket=edits.text_of([Alteration(SWITCH_OFF, "pretrain", NONE, f"{bad}always")], found),
    )
    assert not app.exception
    assert all("<b>" not in str(each.value) for each in app.markdown)
