"""The Learn page by AppTest: every step of the lesson, asked and answered, on pictures and on texts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from explorer.lesson import steps
from explorer.lesson.facts import Scene
from explorer.panels.learn import lesson
from explorer.ui import state, theme
from influence import Run

PAGE = "learn"


def said(elements):
    return " ".join(str(element.value) for element in elements)


def url(app, key):
    found = app.query_params.get(key)
    return found[0] if isinstance(found, list) else found


def ring(app, row, scene):
    app.query_params[state.EXAMPLE] = str(scene.examples["id"].iloc[row])
    return app.run()


def choose(app, key, value):
    return app.segmented_control(key=key).set_value(value).run()


def press(app, key, value):
    """What a click in one of the app's own components does."""
    app.query_params[key] = value
    return app.run()


def retrain(app, predicted, measured):
    app.session_state[state.RETRAINED] = {"left": 1, "predicted": predicted, "measured": measured, "serial": 1}
    return app.run()


def correct(app, text, numbers):
    told = {"text": text, "relabelled": numbers, "relabelling": [-1.2, -0.7], "serial": 1, "left": 0}
    app.session_state[state.RETRAINED] = told
    return press(app, state.PLANE, text)


def look_alike(app, scene):
    choose(app, state.RANKING, state.NEAREST)
    return ring(app, scene.alike, scene)


def own_choice(app, scene):
    other = (scene.position + 1) % len(scene.run.queries())
    press(app, state.QUERY, str(scene.run.queries()["id"].iloc[other]))
    return ring(app, scene.strongest_harm(other), scene)


def cell(scene):
    classes = sorted(set(scene.run.queries()["label"]) | set(scene.run.queries()["prediction"]))
    return "-".join(str(classes.index(name)) for name in scene.cell)


# What a learner may do wrong (None: nothing that can be), and what is right, a pair a step.
ANSWERS = [
    (lambda app, s: press(app, state.CELL, "0-0"), lambda app, s: press(app, state.CELL, cell(s))),
    (None, lambda app, s: choose(app, state.STAGE, "finetune")),
    (lambda app, s: ring(app, int(s.own.argmax()), s), lambda app, s: ring(app, int(s.own.argmin()), s)),
    (lambda app, s: choose(app, state.COUNT, 10), lambda app, s: choose(app, state.COUNT, 20)),
    (lambda app, s: ring(choose(app, state.RANKING, state.NEAREST), int(s.nearest[np.argmax(s.own[s.nearest])]), s),
     look_alike),
    (lambda app, s: press(app, state.GROUP, str(s.totals["harmful"].idxmax())),
     lambda app, s: press(app, state.GROUP, str(s.totals["harmful"].idxmin()))),
    (lambda app, s: press(app, state.BASKET, str(s.examples["id"].iloc[s.slice_sums.argmax()])),
     lambda app, s: app.button(key="empty").click().run().button(key="put").click().run()),
    (lambda app, s: correct(app, "4=-0.85,0.77,2", [4]), lambda app, s: correct(app, "4=-0.85,0.77,0", [4])),
    (lambda app, s: retrain(app, -0.7, -0.75), lambda app, s: retrain(app, 0.15, 0.24)),
    (lambda app, s: press(app, state.QUERY, str(s.run.queries()["id"].iloc[(s.position + 1) % len(s.run.queries())])),
     own_choice),
]  # fmt: skip


@pytest.fixture(scope="module")
def roots(small, tmp_path_factory):
    root = tmp_path_factory.mktemp("lesson")
    small.write_run(root, "pictures")
    small.write_run(root, "sentences", text=True)
    small.write_run(root, "mapless", mapped=False)
    small.write_run(root, "hostile", hostile="<b>*x*</b> {it.run} $y$")
    return root


@pytest.mark.parametrize("name", ["pictures", "sentences"])
def test_walk_through_all_steps(open_app, roots, name):
    scene = Scene(Run.open(roots / name))
    app = open_app(roots, page=PAGE, run=name)
    app.button(key="lesson_begin").click().run()
    for place, (wrong, right) in enumerate(ANSWERS, start=1):
        assert not app.exception
        assert url(app, state.LESSON) == str(place)
        assert f"{place} of 10" in said(app.get("html"))
        assert steps.STEPS[place - 1].title in said(app.get("html"))
        assert app.button(key="lesson_next").disabled
        assert not app.button(key="lesson_skip").disabled
        if wrong:
            wrong(app, scene)
            assert not app.exception
            assert app.button(key="lesson_next").disabled
        right(app, scene)
        assert not app.exception
        assert not app.warning
        assert "✓" in said(app.markdown)
        assert not app.button(key="lesson_next").disabled
        app.button(key="lesson_next").click().run()
    assert url(app, state.LESSON) is None
    assert "All ten steps are answered" in said(app.markdown)


def test_a_step_sets_its_state_and_takes_back_what_the_last_one_left(open_app, roots):
    app = open_app(roots, page=PAGE, run="pictures", lesson="4")
    choose(app, state.COUNT, 20)
    press(app, state.GROUP, "1")
    press(app, state.BAR, f"{url(app, state.QUERY)}-20")
    app.button(key="lesson_next").click().run()
    assert url(app, state.BAR) is None
    assert app.segmented_control(key=state.COUNT).value == 5
    assert url(app, state.GROUP) is None
    app.button(key="lesson_back").click().run()
    assert url(app, state.LESSON) == "4"
    assert app.button(key="lesson_next").disabled


def test_link_keeps_what_else_it_says(open_app, roots):
    app = open_app(roots, page=PAGE, run="pictures", lesson="3", query="1003", example="5")
    assert app.text_input(key=state.FIND).value == "1003"
    assert url(app, state.EXAMPLE) == "5"


@pytest.mark.parametrize("url", [{"lesson": "2", "of": "Finetuning"}, {"lesson": "4", "k": "20"}])
def test_link_to_an_answered_step_opens_answered(open_app, roots, url):
    app = open_app(roots, page=PAGE, run="pictures", **url)
    assert not app.button(key="lesson_next").disabled


def test_another_run_teaches_from_its_own_prediction(open_app, roots):
    app = open_app(roots, page=PAGE, run="pictures", lesson="3")
    press(app, state.QUERY, "1003")
    app.selectbox(key=state.RUN).set_value("sentences").run()
    assert url(app, state.QUERY) == Scene(Run.open(roots / "sentences")).query
    assert url(app, state.LESSON) == "3"


def test_lesson_is_left_and_taken_up_again(open_app, roots):
    app = open_app(roots, page=PAGE, run="pictures", lesson="4")
    app.button(key="lesson_leave").click().run()
    assert url(app, state.LESSON) is None
    assert app.button(key="lesson_begin").label == "Go on with step 4"
    app.button(key="lesson_begin").click().run()
    assert url(app, state.LESSON) == "4"


def test_a_basket_is_not_emptied(open_app, roots):
    app = open_app(roots, page=PAGE, run="pictures", basket="3,4")
    app.button(key="lesson_step_7").click().run()
    assert url(app, state.BASKET) == "3,4"


@pytest.mark.parametrize(
    ("place", "lacks"), [(3, "no places on a map"), (5, "no embedding"), (10, "no places on a map")]
)
def test_a_step_says_what_a_run_lacks_and_lets_pass(open_app, roots, place, lacks):
    app = open_app(roots, page=PAGE, run="mapless", lesson=str(place))
    assert not app.exception
    assert lacks in said(app.info)
    assert not app.button(key="lesson_next").disabled


@pytest.mark.parametrize("place", range(1, 10))
def test_text_from_data_stays_text(open_app, roots, place):
    app = open_app(roots, page=PAGE, run="hostile", lesson=str(place))
    assert not app.exception
    assert f"{place} of 10" in said(app.columns[0].get("html"))
    card = said(app.columns[0].markdown)
    assert "<b>" not in card.replace("\\<", "")
    assert "Run('" not in card


def test_a_run_that_cannot_be_taught_from_is_told(small, tmp_path):
    run = small.write_run(tmp_path, "bare")
    assert lesson.unteachable(run) == ""
    small.restaged(run, -1, classes=())
    assert "no classes" in lesson.unteachable(run)
    small.restated(run, scores=())
    assert "no scores" in lesson.unteachable(run)


def test_a_model_without_mistakes_is_taught_from_its_least_sure_answer(small, tmp_path, monkeypatch):
    run = small.write_run(tmp_path, "right")
    table = run.queries()
    table = table.assign(prediction=table["label"])
    monkeypatch.setattr(Run, "queries", lambda self: table)
    scene = Scene(run)
    assert scene.what_happened.startswith("This model makes no mistake here.")
    assert scene.position == table["confidence"].argmin()
    assert scene.slice_words == "predictions"


def test_what_retraining_did_is_stated_where_it_was_measured(small, tmp_path, monkeypatch):
    scene = Scene(small.write_run(tmp_path, "measured"))
    assert "Nobody measured it" in scene.measured
    row = {"kind": "harmful", "left_out": 20, "loss": 0.9, "loss_before": 1.0, "predicted": -0.12}
    table = pd.DataFrame([row, row | {"left_out": 40, "loss": 0.1}, row | {"kind": "random", "left_out": 5}])
    tables = {"summary": pd.DataFrame({"check": ["noise", "leave-one-out"], "words": ["None.", "r = 0.92 <b>"]})}
    monkeypatch.setattr(Run, "validation", lambda self, check: tables.get(check))
    assert "says of such predictions: r \\= 0\\.92 \\<b\\>" in scene.measured
    tables["removal"] = table
    assert "without its 20 most harmful" in scene.measured
    assert f"changed by {theme.MINUS}0.10 nat; {theme.MINUS}0.12 was predicted" in scene.measured


def test_bad_links_are_said_and_survived(open_app, roots):
    app = open_app(roots, page=PAGE, run="pictures", lesson="12")
    assert "lesson “12”" in said(app.warning)
    assert app.button(key="lesson_begin").label == "Begin the lesson"
    app = open_app(roots, page=PAGE, run="pictures", plane="4=<b>")
    assert "plane cannot be read" in said(app.warning)
    assert url(app, state.PLANE) is None


def test_plane_is_sent_as_the_link_says(open_app, roots, component):
    app = open_app(roots, page=PAGE, run="pictures", plane="a=0.1_4=-0.85,0.77,0_7=-1.04,1.05,0,out")
    sent = component(app, "plane")
    assert sent["alpha"] == 0.1
    assert sent["points"][3]["y"] == 0
    assert sent["left"] == [6]
    assert sent["original"]["points"][3]["y"] == 1


def test_every_step_has_an_address_of_a_page_and_a_unique_title():
    assert len(steps.STEPS) == 10
    assert len({step.title for step in steps.STEPS}) == 10
    assert {step.page for step in steps.STEPS} == {state.EXPLORE_PAGE, state.SUSPECTS_PAGE, state.LEARN_PAGE}
