"""What if on Item and on cards, by AppTest, with a fake's answers: tools, numbers, links, and what stays text."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fake_live import FakeLive

from explorer.jobs import live, process
from explorer.panels.retraining import retrain
from explorer.panels.what_if.alternatives import Alternatives, relabels, whole
from explorer.ui import theme
from explorer.view import edits
from influence import Run
from influence.live import LEAVE_OUT, MASK, RELABEL, STRIKE, UPWEIGHT, Alteration, Contrast, Criterion, as_json
from influence.run import add_tables

ITEM = "item"
MISTAKE = 7
"""Row of the prediction that Explore opens on."""
ASKED = {"study": "small", "images": None, "texts": None, "seed": None, "options": {}, "solving": {}}


def faked(monkeypatch, run):
    found = FakeLive(run)
    monkeypatch.setattr(live, "opened", lambda run: found)
    return found.what_if


@pytest.fixture
def what_if(monkeypatch, small_root):
    """The fake behind the run of pictures; what it was asked is in `asked`."""
    return faked(monkeypatch, Run.open(small_root / "small"))


def bodies(app):
    return " ".join(element.proto.body for element in app.get("html"))


def rows(component, app):
    return {row["name"]: row for group in component(app, "alternatives")["groups"] for row in group["rows"]}


def asked(what_if):
    return {criterion for _, criterion, *_ in what_if.asked}


def test_it_opens_on_a_press_and_computes_nothing_before(open_app, small_root, what_if, component):
    app = open_app(small_root, ITEM, example="7")
    assert not app.exception
    assert not what_if.asked
    app.session_state["what_if"] = True
    app.run()
    assert not app.exception
    found = rows(component, app)
    assert list(found) == ["0", "1", "2", "counted twice", "left out"]
    assert [found[name]["sign"] for name in ("0", "2", "counted twice", "left out")] == [
        "falls",
        "rises",
        "rises",
        "falls",
    ]
    assert found["1"]["own"], "example 7 is a 1"
    assert found["left out"]["title"].endswith("on prediction #1007 is predicted to fall by 5.0 mnat")
    assert asked(what_if) == {Criterion((MISTAKE,))}


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ("7-as-2", "with the label “2”"),
        ("7-mask-8.8.7.6", "with a part blank (7 by 6 pixels at 8, 8)"),
        ("7-by-1", "with it counted twice"),
        ("7", "without it"),
    ],
)
def test_an_edit_of_the_link_is_predicted(open_app, small_root, what_if, edit, says):
    app = open_app(small_root, ITEM, example="7", what_if="true", edit=edit)
    assert not app.exception
    assert not app.warning
    shown = bodies(app)
    assert f"Trained {says}, the loss on prediction #1007, now" in shown
    assert "rise by" in shown or "fall by" in shown


def test_the_brush_has_what_is_blank_and_patches_are_drawn_once_asked_for(open_app, small_root, what_if, component):
    app = open_app(small_root, ITEM, example="7", what_if="true", edit="7-mask-8.8.7.6")
    sent = component(app, "brush")
    assert (sent["box"], sent["width"], sent["height"], sent["heat"]) == ([8, 8, 7, 6], 28, 28, None)
    assert any("mean of the pixels around" in caption.value for caption in app.caption)
    assert not any(kind == "patches" for kind, *_ in what_if.asked)
    app.toggle(key="where").set_value(True).run()
    heat = component(app, "brush")["heat"]
    assert heat["columns"] == heat["rows"] == [4] * 7
    assert (heat["shares"][6], heat["shares"][42], heat["shares"][0]) == (100, -50, 0)
    assert "top right, ▲ helpful; with it blank the loss would rise by 4.0 mnat" in heat["words"]


def test_what_is_judged_by_is_in_the_link(open_app, small_root, what_if):
    run = Run.open(small_root / "small")
    app = open_app(small_root, ITEM, example="7", what_if="true", judge="All mistakes", edit="7")
    wrong = np.flatnonzero((run.queries()["prediction"] != run.queries()["label"]).to_numpy())
    assert asked(what_if) == {Criterion(tuple(wrong.tolist()))}
    assert f"the mean loss on all {len(wrong)} mistakes" in bodies(app)
    what_if.asked.clear()
    app.button_group(key="judge").set_value("All predictions").run()
    assert asked(what_if) == {Criterion(tuple(range(len(run.queries()))))}


def test_the_contrast_of_explore_is_honoured(open_app, small_root, what_if):
    query = Run.open(small_root / "small").queries().iloc[MISTAKE]
    said, true = str(query["prediction"]), str(query["label"])
    app = open_app(small_root, ITEM, example="7", what_if="true", explained="Margin", against=true, edit="7")
    assert not app.exception
    assert asked(what_if) == {Criterion((MISTAKE,), contrast=Contrast(said, true))}
    assert f"the loss of “{said}” minus the loss of “{true}” on prediction #1007 is predicted" in bodies(app)


@pytest.mark.parametrize(
    "link",
    [
        {"edit": "7-as-zebra"},
        {"edit": "x"},
        {"edit": "7-mask-1.2"},
        {"edit": "7-as-1"},
        {"edit": "7-strike-word"},
        {"judge": "Nobody"},
        {"query": "x1"},
        {"what_if": "maybe"},
    ],
)
def test_bad_links_fall_back_and_are_told(open_app, small_root, what_if, link):
    app = open_app(small_root, ITEM, example="7", **{"what_if": "true", **link})
    assert not app.exception
    assert app.warning
    assert "is predicted to" not in bodies(app)


def test_the_label_that_it_has_changes_nothing_and_is_told(open_app, small_root, what_if):
    app = open_app(small_root, ITEM, example="7", what_if="true", edit="7-as-1")
    assert "has the label “1” already: nothing would change" in app.warning[0].value


def test_a_mask_outside_the_picture_is_a_callout_and_the_bars_stay(open_app, small_root, what_if, component):
    app = open_app(small_root, ITEM, example="7", what_if="true", edit="7-mask-25.0.9.9")
    assert not app.exception
    assert "no part of a picture" in app.warning[0].value
    assert rows(component, app)


def test_an_edit_of_another_example_is_let_go(open_app, small_root, what_if):
    app = open_app(small_root, ITEM, example="7", what_if="true", edit="7-as-2")
    app.button(key="example_next").click().run()
    assert not app.exception
    assert not app.warning
    assert app.query_params["what_if"] == "true"
    assert "is predicted to" not in bodies(app)


def test_an_edit_goes_into_the_basket_and_is_taken_back(open_app, small_root, what_if):
    app = open_app(small_root, ITEM, example="7", what_if="true", edit="7-as-2", basket="3")
    app.button(key="what_if_basket").click().run()
    held, notices = edits.parse(app.query_params["basket"], Run.open(small_root / "small"))
    assert notices == []
    assert held == [Alteration(LEAVE_OUT, "pretrain", 3), Alteration(RELABEL, "pretrain", 7, "2")]
    assert not any(button.key == "what_if_basket" for button in app.button)
    assert "./suspects?run=small&amp;of=Pretraining&amp;basket=3%2C7-as-2" in bodies(app)
    app.button(key="what_if_undo").click().run()
    assert "edit" not in app.query_params


def test_a_run_that_cannot_be_asked_says_so(open_app, small_root):
    app = open_app(small_root, ITEM, example="7", what_if="true")
    assert not app.exception
    assert "cannot be asked what if" in app.info[0].value


def test_where_only_the_order_counts_no_size_is_told(open_app, small_root, monkeypatch, component):
    run = Run.open(small_root / "small")
    found = FakeLive(run)
    found.order_only = ("pretrain: <b>too flat</b>",)
    monkeypatch.setattr(live, "opened", lambda run: found)
    app = open_app(small_root, ITEM, example="7", what_if="true", edit="7-as-2", where="true")
    assert not app.exception
    told = bodies(app)
    assert "Order only" in told
    assert "is predicted to <b>↑ rise</b>" in told
    assert [row["value"] for row in rows(component, app).values()] == ["↓", "its label", "↑", "↑", "↓"]
    assert component(app, "brush")["heat"]["words"].endswith("the loss would rise.")


def test_words_are_struck_and_without_classes_there_are_no_labels(open_app, small, tmp_path, monkeypatch, component):
    run = small.write_run(tmp_path, "words", text=True)
    what_if = faked(monkeypatch, run)
    app = open_app(tmp_path, ITEM, example="2", what_if="true", edit="2-strike-number,2-strike-About")
    assert not app.exception
    assert list(rows(component, app)) == ["counted twice", "left out"]
    assert not any(kind == "labels" for kind, *_ in what_if.asked)
    pieces = component(app, "words")["pieces"]
    assert "".join(piece["text"] for piece in pieces) == run.examples("pretrain")["text"].iloc[2]
    assert [piece["word"] for piece in pieces if piece.get("struck")] == ["number", "about"]
    assert "without the words “number” and “About”" in bodies(app)
    assert "rise by 14 mnat" in bodies(app)


def test_markup_in_labels_and_texts_stays_text(open_app, small, tmp_path, monkeypatch, component):
    hostile = "<img src=x onerror=alert(1)> *b*"
    for text in (False, True):
        root = tmp_path / str(text)
        run = small.write_run(root, "odd", text=text, hostile=hostile)
        faked(monkeypatch, run)
        stage, number = ("finetune", 500) if text else ("pretrain", 1)
        made = edits.text_of([Alteration(RELABEL, stage, number, hostile)], run)
        of = "Finetuning" if text else "Pretraining"
        app = open_app(root, ITEM, example=str(number), of=of, what_if="true", edit=made)
        assert not app.exception
        assert "&lt;img src=x onerror=alert(1)&gt; *b*”, the loss" in bodies(app)
        assert "<img src=x" not in bodies(app)
        assert hostile in rows(component, app)
        link = "7-as-" + hostile.replace("<", "&lt;")
        told = open_app(root, ITEM, example=str(number), of=of, what_if="true", edit=link).warning[0].value
        assert r"\*b\*" in told


def test_each_card_leads_to_what_if_of_its_example_for_its_prediction(open_app, small_root, component):
    sent = component(open_app(small_root, query="1003"), "cards")
    address = sent["what_if"]
    assert address.startswith("./item?run=small&of=Pretraining&query=1003&what_if=true")
    assert address.endswith("&example=")
    assert "what_if" not in component(open_app(small_root, ITEM, example="7"), "cards")


def test_pictures_on_cards_are_coloured_once_asked_for(open_app, small, tmp_path, monkeypatch, component):
    run = small.restated(small.write_run(tmp_path, "small"), asked=ASKED)
    what_if = faked(monkeypatch, run)
    app = open_app(tmp_path)
    assert not what_if.asked
    assert not any("heat" in card for column in component(app, "cards")["columns"] for card in column["cards"])
    app.button_group(key="shading").set_value("Patches").run()
    assert not app.exception
    cards = [card for column in component(app, "cards")["columns"] for card in column["cards"]]
    assert all("▲ helpful" in card["heat"]["words"] for card in cards)
    ((_, criterion, stage, rows_asked),) = what_if.asked
    assert (criterion, stage) == (Criterion((MISTAKE,)), "pretrain")
    assert sorted(map(str, rows_asked)) == sorted(card["id"] for card in cards)


def test_really_training_again_is_begun_and_its_measurement_stands_beside(
    open_app, small, tmp_path, monkeypatch, component
):
    run = small.restated(small.write_run(tmp_path, "small"), asked=ASKED)
    faked(monkeypatch, run)
    begun = []
    monkeypatch.setattr(process, "begin", lambda *given, **more: begun.append(given))
    app = open_app(tmp_path, ITEM, example="7", what_if="true", edit="7-as-2")
    made = [Alteration(RELABEL, "pretrain", 7, "2")]
    app.button(key=f"retrain-{retrain.name_of(made)}").click().run()
    assert begun == [
        (run.path, retrain.name_of(made), [
            "what-if", "--start", "solution", "--really", "--relabel", "pretrain:7=2", "--", str(run.path),
        ])
    ]  # fmt: skip
    count = len(run.queries())
    numbers = np.zeros(count, np.int32)
    measured = pd.DataFrame([{
        "edits": as_json(made), "start": "solution", "first": np.full(count, 0.004, np.float32),
        "together": np.full(count, 0.004, np.float32), "measured": np.full(count, 0.005, np.float32),
        "class_before": numbers, "class_after": numbers,
    }])  # fmt: skip
    add_tables(run, {"what-if": measured})
    true = str(run.queries()["label"].iloc[MISTAKE])
    app = open_app(tmp_path, ITEM, example="7", what_if="true", edit="7-as-2", explained="Margin", against=true)
    assert f"minus the loss of “{true}” on prediction #1007 is predicted to" in bodies(app)
    assert "the loss of its true class rose by <b>5.0 mnat</b>" in bodies(app)
    app = open_app(tmp_path, ITEM, example="7", what_if="true", edit="7-as-2", judge="All mistakes")
    assert not app.exception
    shown = bodies(app)
    assert "Really trained on from the solution with the label “2”: the mean loss on all" in shown
    assert "rose by <b>5.0 mnat</b>" in shown
    assert "+4.0 mnat" in shown


def test_arguments_of_every_kind_of_edit(small_root):
    run = Run.open(small_root / "small")
    made = [
        Alteration(LEAVE_OUT, "pretrain", 3),
        Alteration(UPWEIGHT, "finetune", 501, 1.0),
        Alteration(MASK, "pretrain", 4, (8, 8, 7, 6)),
        Alteration(STRIKE, "pretrain", 5, "two words=x"),
    ]
    assert retrain.arguments(run, made, "scratch") == [
        "what-if", "--start", "scratch", "--really", "--leave-out", "pretrain:3", "--upweight", "finetune:501=1.0",
        "--mask", "pretrain:4=8,8,7,6", "--strike", "pretrain:5=two words=x", "--", str(run.path),
    ]  # fmt: skip
    alone = retrain.arguments(run, made[:1], "solution")
    assert alone == ["leave-out", "--stage", "pretrain", "--start", "solution", "--", str(run.path), "3"]


def test_many_classes_are_listed_by_what_they_do():
    example = pd.Series({"id": 4, "label": "c3"})
    names = [f"c{number}" for number in range(1000)]
    changes = np.linspace(-1e-3, 2e-3, 1000)
    shown = Alternatives(
        example, relabels("pretrain", example, names), changes, whole("pretrain", example), np.array([1e-3, -1e-3]),
        [], theme.unit_of(changes), "the loss",
    ).json()  # fmt: skip
    listed = shown["groups"][0]["rows"]
    assert listed[0]["name"] == "c999"
    assert len(listed) == 201
    assert [row["name"] for row in listed if row.get("own")] == ["c3"]
