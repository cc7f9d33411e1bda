"""Trust, and really retraining from Suspects and Explore, by AppTest on small runs."""

from __future__ import annotations

import dataclasses
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import small_checks
from small_run import restaged, restated, write_run

from explorer.jobs import process
from explorer.panels.retraining import retrain, validate
from explorer.trust import left_out as leaving_out
from influence.live import LEAVE_OUT, RELABEL, Alteration, as_json
from influence.run.additions import add_tables
from influence.run.reading import Run

PAGE = "trust"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("checked")
    small_checks.checked(write_run(root, "small"))
    small_checks.checked(write_run(root, "words", text=True, hostile="<script>alert(1)</script> **x** $y$"))
    write_run(root, "unchecked")
    return root


@pytest.fixture
def askable(tmp_path):
    """A folder with a run that says how its study is made."""
    return as_asked(write_run(tmp_path, "asked")).path.parent


def as_asked(run: Run) -> Run:
    return restated(run, asked={"study": "digits"})


@pytest.fixture(autouse=True)
def _no_jobs():
    yield
    process._end_all()
    process._jobs.clear()


def says(app):
    kinds = (app.markdown, app.caption, app.info, app.error, app.get("html"))
    return " ".join(str(getattr(e, "value", None) or e.proto.body) for kind in kinds for e in kind)


def test_it_opens_with_a_verdict_and_has_all_charts(open_app, root):
    app = open_app(root, page=PAGE, run="small", query="1007")
    assert not app.exception
    assert not app.error
    text = says(app)
    assert "Yes, for this very model" in text
    assert "Prediction #1007" in text
    assert "Five things" in text
    charts = app.get("plotly_chart")
    assert len(charts) == 8
    assert all(chart.proto.alt for chart in charts)
    assert "r = 0.9" in charts[0].proto.alt


def points(scatter):
    """The words of each point, by its number."""
    traces = [trace for trace in scatter["data"] if trace["mode"] == "markers"]
    return {
        number: words
        for trace in traces for number, words in zip(trace["customdata"], trace["hovertext"], strict=True)
    }  # fmt: skip


def test_a_point_that_is_pressed_leads_to_its_example(open_app, root, figures):
    app = open_app(root, page=PAGE, run="small", query="1007", whose="This prediction")
    assert '<a class="up-way"' not in says(app)
    words = points(figures(app)[0])[5]
    app.session_state["chart_singles"] = {"selection": {"points": [{"customdata": 5}]}}
    app.run()
    assert not app.exception
    example = words.split("&#35;")[1].split(" ")[0]
    link = next(text for text in (e.proto.body for e in app.get("html")) if "up-way" in text)
    assert f"example={example}&amp;query=1007" in link
    assert link.startswith('<a class="up-way" href="./item?run=small')


def test_a_point_that_is_none_leads_nowhere(open_app, root):
    app = open_app(root, page=PAGE, run="small", query="1007")
    for pressed in (-1, 10**6, "5", None):
        app.session_state["chart_singles"] = {"selection": {"points": [{"customdata": pressed}]}}
        app.run()
        assert not app.exception, pressed
        assert '<a class="up-way"' not in says(app), pressed


def test_what_is_chosen_is_in_the_url(open_app, root, figures):
    app = open_app(root, page=PAGE, run="small", query="1007", trained="From scratch", whose="This prediction")
    assert not app.exception
    assert not app.warning
    assert len(points(figures(app)[0])) == small_checks.LEFT_OUT
    assert "random subsets, each prediction's own strongest, removal in bulk; switch above" in says(
        app
    )  # subsets were only measured from the solution


@pytest.mark.parametrize("url", [{"trained": "sideways"}, {"whose": "nobody's", "query": "1007"}, {"query": "<b>7"}])
def test_bad_links_are_said_and_survived(open_app, root, url):
    app = open_app(root, page=PAGE, run="small", **url)
    assert not app.exception
    assert app.warning


def test_texts_and_stages_without_classes(open_app, root):
    app = open_app(root, page=PAGE, run="words", query="1007")
    assert not app.exception
    assert not app.error
    assert "<script>" not in says(app)


@pytest.mark.parametrize("check", ["stability", "planted", "noise", "leave-one-out"])
def test_a_run_with_one_check_shows_what_there_is(open_app, tmp_path, check):
    small_checks.checked(write_run(tmp_path, "small"), [check])
    app = open_app(tmp_path, page=PAGE)
    assert not app.exception
    assert not app.error
    assert "Not checked yet" in says(app)


def test_scores_without_a_unit(open_app, tmp_path):
    run = small_checks.checked(write_run(tmp_path, "small"))
    scores = [dataclasses.replace(record, method="identity") for record in run.manifest.scores]
    restated(run, default_method="identity", scores=tuple(scores))
    app = open_app(tmp_path, page=PAGE)
    assert not app.exception
    assert "The method has no unit" in says(app)


def test_an_unchecked_run_that_cannot_be_trained_again_says_why(open_app, root):
    app = open_app(root, page=PAGE, run="unchecked")
    assert not app.exception
    assert "nothing of this run was checked yet" in says(app)
    assert "cannot be trained again from here" in says(app)
    assert f"upstream validate unchecked --runs {root} --budget 10m" in app.code[0].value
    assert "validate" not in [button.key for button in app.button]


def test_the_button_checks_in_the_background(open_app, askable, monkeypatch):
    asked: list[list[str]] = []
    slow = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(process, "command", lambda arguments: asked.append(list(arguments)) or slow)
    app = open_app(askable, page=PAGE)
    app.button(key="validate").click().run()
    assert not app.exception
    assert len(app.get("progress")) == 1
    assert asked[0][:3] == ["validate", "--budget", "60s"]
    assert asked[0][-2:] == ["--", str(askable / "asked")]
    # Another visitor sees it and does not begin it again.
    other = open_app(askable, page=PAGE)
    assert len(other.get("progress")) == 1
    assert "validate" not in [button.key for button in other.button]
    other.button(key="cancel-validation").click().run()
    assert process.of(askable / "asked").state == process.CANCELLED
    assert "Cancelled" in says(open_app(askable, page=PAGE))
    assert len(asked) == 1


def test_a_check_that_fails_says_why_and_can_be_begun_again(open_app, askable, monkeypatch):
    fails = [sys.executable, "-c", "import sys; sys.stderr.write('Error: No <b>data</b> there.\\n'); sys.exit(2)"]
    monkeypatch.setattr(process, "command", lambda arguments: fails)
    run = Run.open(askable / "asked")
    validate.begin(run)
    assert process.of(run.path).wait(10)
    app = open_app(askable, page=PAGE)
    assert "<b>" not in app.error[0].value.replace("\\<b\\>", "")
    assert "data" in app.error[0].value
    app.button(key="dismiss-validation").click().run()
    assert not app.error
    assert "validate" in [button.key for button in app.button]


def left_out(run: Run, rows: list[int], start: str = "solution", measured: float = -0.002) -> Run:
    count = len(run.queries())
    predicted = np.asarray(run.scores()[:])[:, rows].sum(1)
    table = pd.DataFrame(
        [
            {
                "stage": "pretrain", "start": start, "examples": np.array(sorted(rows), np.int32),
                "predicted": predicted.astype(np.float32), "measured": np.full(count, measured, np.float32),
                "class_before": np.zeros(count, np.int32), "class_after": np.ones(count, np.int32),
            }
        ]
    )  # fmt: skip
    old = run.validation("left-out")
    return add_tables(run, {"left-out": table if old is None else pd.concat([old, table], ignore_index=True)})


def test_a_basket_is_really_left_out_once(open_app, askable, monkeypatch):
    asked: list[list[str]] = []
    ends = [sys.executable, "-c", "pass"]
    monkeypatch.setattr(process, "command", lambda arguments: asked.append(list(arguments)) or ends)
    app = open_app(askable, page="suspects", basket="3,7")
    button = next(button for button in app.button if str(button.key).startswith("retrain-"))
    button.click().run()
    assert not app.exception
    path = askable / "asked"
    assert asked == [["leave-out", "--stage", "pretrain", "--start", "solution", "--", str(path), "3", "7"]]
    assert process.of(path).wait(10)
    left_out(Run.open(path), [3, 7])
    app = open_app(askable, page="suspects", basket="7,3")
    text = says(app)
    assert "Really trained on from the solution without these 2" in text
    assert "fell by" in text
    assert "wrong ones became right" in text
    # From scratch is another question, and may still be asked.
    labels = [button.label for button in app.button if str(button.key).startswith("retrain-")]
    assert labels == ["Really retrain without these, from scratch"]


def test_a_later_visitor_finds_the_sets(open_app, askable):
    left_out(Run.open(askable / "asked"), [3, 7])
    app = open_app(askable, page="suspects")
    app.button(key="known_0").click().run()
    assert "Really trained" in says(app)


def test_explore_shows_what_the_ringed_example_really_did(open_app, root):
    table = Run.open(root / "small").validation("leave-one-out")
    example = int(table["example"].iloc[0])
    app = open_app(root, run="small", query="1007", example=str(example))
    assert not app.exception
    text = says(app)
    assert "Really trained on from the solution without it" in text
    assert "of 10 stay under other settings" in text


def test_effects_add_up_over_a_slice(root, tmp_path):
    run = Run.open(shutil.copytree(root / "unchecked", tmp_path / "unchecked"))
    run = left_out(run, [2, 5], measured=0.001)
    positions = np.array([0, 4, 9])
    (effect,) = leaving_out.effects(run, "pretrain", [5, 2], positions)
    assert effect.measured == pytest.approx(0.003)
    assert effect.predicted == pytest.approx(
        float(np.asarray(run.scores()[:])[np.ix_(positions, [2, 5])].sum()), rel=1e-5
    )
    labels = run.queries()["label"].iloc[positions].tolist()
    assert effect.broken == labels.count("7")
    assert effect.mended == labels.count("8")
    assert leaving_out.effects(run, "pretrain", [2], positions) == []
    assert leaving_out.effects(run, "finetune", [2, 5], positions) == []


def test_sets_are_found_in_the_table_of_edits_too(root, tmp_path):
    """Beside rows that leave nothing out, that were not trained, or that a stranger wrote."""
    run = Run.open(shutil.copytree(root / "unchecked", tmp_path / "unchecked"))
    ids, count = run.examples("pretrain")["id"], len(run.queries())
    out = [Alteration(LEAVE_OUT, "pretrain", int(ids.iloc[row])) for row in (5, 2)]
    relabelled = Alteration(RELABEL, "pretrain", int(ids.iloc[3]), "7")
    told = [
        as_json(out),
        as_json([*out, relabelled]),
        as_json(out[:1]),
        "[[]]",
        "[" * 10_000,
        '[["pretrain", [], "", 0]]',
    ]
    lists = {"first": 0.5, "together": 0.25, "measured": 0.125}
    rows = [
        {"edits": edits, "start": "solution"} | {k: np.full(count, v, np.float32) for k, v in lists.items()}
        for edits in told
    ]
    rows[2]["measured"] = np.full(count, np.nan, np.float32)
    classes = {"class_before": np.zeros(count, np.int32), "class_after": np.ones(count, np.int32)}
    run = add_tables(run, {"what-if": pd.DataFrame([row | classes for row in rows])})
    assert leaving_out.known(run, "pretrain") == [[2, 5]]
    (effect,) = leaving_out.effects(run, "pretrain", [5, 2], np.arange(4))
    assert (effect.predicted, effect.measured) == (1.0, 0.5)
    assert leaving_out.known(run, "finetune") == []


def test_without_classes_nothing_becomes_right(tmp_path):
    run = left_out(write_run(tmp_path, "small"), [2])
    restaged(run, -1, classes=())
    (effect,) = leaving_out.effects(run, "pretrain", [2], np.arange(5))
    assert (effect.mended, effect.broken) == (None, None)
    assert "became" not in retrain.effect_html(effect, 1, "nat")


def test_measured_and_predicted_of_other_signs_part_in_the_middle():
    drawn = retrain.effect_html(leaving_out.Effect("scratch", 0.5, -0.25, 3), 2, "nat")
    assert drawn.count("up-across") == 2
    assert "all over again from scratch without these 2" in drawn
    assert "fell by <b>0.25 nat</b>" in drawn
    assert "no unit" in retrain.effect_html(leaving_out.Effect("solution", 5.0, -0.25, 3), 2, "order only")


def test_what_a_check_says_of_itself_stays_text(open_app, tmp_path):
    run = small_checks.checked(write_run(tmp_path, "small"), ["sanity"])
    table = run.validation("sanity").assign(against=":red[*x*]")
    add_tables(run, {"sanity": table})
    text = says(open_app(tmp_path, page=PAGE, run="small"))
    assert r"\:red\[\*x\*\]" in text
