"""A run whose scores have lost their unit, on every page: said in words at the lists, and no size in nats."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import small_checks
from small_run import restated, write_run

from explorer.export import report
from explorer.jobs import live
from explorer.lesson.facts import Scene
from explorer.panels.lists import exports, order_only, tables
from explorer.panels.retraining import retrain
from explorer.trust import evidence, verdict
from explorer.trust.left_out import Effect
from explorer.ui import state
from explorer.view.query import stored
from explorer.view.view import View
from influence.run import Run

REASON = "pretrain: <img src=x onerror=alert(1)> **too flat** to believe; raise `damping`"
NOTE = "finetune: derivatives <b>one by one</b>"
AMOUNT = re.compile(r"\d\s*[mµ]?nat\b")


def without_unit(run: Run) -> Run:
    records = [
        dataclasses.replace(r, report={**r.report, "unit": "order only", "order_only": [REASON]})
        for r in run.manifest.scores
    ]
    return restated(run, scores=tuple(records), warnings=(REASON, "another warning"), notes=(NOTE,))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("lost")
    without_unit(small_checks.checked(write_run(root, "lost"), noise=2.0))  # too noisy to measure a slope
    without_unit(write_run(root, "words", text=True))
    write_run(root, "whole")
    return root


def texts(app):
    """All that a page says, and its headings and tables' columns; the header's details are closed."""
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error, app.get("html"))
    return " ".join(str(getattr(e, "value", None) or e.proto.body) for kind in kinds for e in kind)


@pytest.mark.parametrize("page", ["", "suspects", "item", "compare", "learn"])
@pytest.mark.parametrize("run", ["lost", "words"])
def test_the_lists_say_it_and_why(open_app, root, page, run):
    app = open_app(root, page, run=run, **({"lesson": "3"} if page == "learn" else {}))
    assert not app.exception
    assert not app.error
    said = texts(app)
    (line,) = re.findall(r'<p class="up-warned".*?</p>', said)
    assert "Order only" in line
    assert "&lt;img src=x onerror=alert(1)&gt; **too flat**" in line  # HTML, which reads no markdown
    assert "./notes?" in line
    assert "exact, damping 0.001, order only" in said  # the header
    rule = next(e for e in app.markdown if "is predicted to *raise*" in e.value)
    assert "Unit: nat" not in rule.help
    assert "\\<img src\\=x" in rule.help


def test_a_run_in_nats_says_nothing_of_it(open_app, root):
    for page in ("", "suspects", "item"):
        app = open_app(root, page, run="whole")
        assert 'class="up-warned"' not in texts(app)
        assert "order only" not in texts(app)
        assert any("Unit: nat" in (e.help or "") for e in app.markdown)


def test_cards_show_ranks_and_bars(open_app, root, component):
    app = open_app(root, run="lost")
    for column in component(app, "cards")["columns"]:
        assert column["unit"] == "order only"
        assert [card["score"] for card in column["cards"]] == [f"rank {n}" for n in range(1, 6)]
        assert max(card["width"] for card in column["cards"]) <= 1
        assert all("order only" in card["full"] for card in column["cards"])
    assert not AMOUNT.search(component(app, "histogram")["high"])
    both = component(open_app(root, "compare", run="lost"), "joined_lists")["columns"]
    assert [column["unit"] for column in both] == ["order only", "mnat"]  # beside another run, whose scores have one
    assert both[0]["helpful"][0]["score"] == "rank 1"
    assert both[1]["helpful"][0]["score"].startswith("+")
    helped = component(open_app(root, "item", run="lost"), "cards")["columns"][0]
    assert (helped["unit"], helped["cards"][0]["score"]) == ("order only", "rank 1")


def test_suspects_promises_no_amount(open_app, root, component):
    app = open_app(root, "suspects", run="lost")
    (table,) = (frame.value for frame in app.dataframe)
    assert {"summed score, order only", "self-influence, order only"} <= set(table.columns)
    app.button(key="put").click().run()
    said = texts(app)
    assert "by how much is not known: these scores are an order only" in said
    assert not AMOUNT.search(next(e.value for e in app.markdown if "in the basket" in e.value))


def test_exports_name_their_columns(root):
    run = Run.open(root / "words")
    view = View(run, stored(run, 7), "pretrain", "exact", np.asarray(run.scores()[7]), 5, state.STRONGEST)
    assert "score_order_only" in exports.list_table(view)
    assert "score_order_only" in exports.score_table(view)
    assert "share, order only" in tables.token_shares(view)
    page = report.page(exports.contents(view, "Why?", "", None, exports.note.notes.Notes())).decode()
    assert "<b>Order only</b>" in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") >= 2  # at the lists, and among the warnings
    assert "&lt;b&gt;one by one&lt;/b&gt;" in page
    assert not AMOUNT.search(page.split("Totals by")[0].split("Where it came from")[1])


def test_trust_judges_the_order(open_app, root):
    run = Run.open(root / "lost")
    assert evidence.unitless(run)
    found = verdict.of(run)
    assert "only the order is judged" in found.findings[0].words
    assert "numbers as sizes" not in found.advice
    assert "read no size from them" in found.advice
    app = open_app(root, "trust", run="lost")
    assert not app.exception
    said = texts(app)
    assert "unit of the scores" in said
    assert "How it was computed: finetune: derivatives" in said.replace("\\", "")
    assert "order only" in retrain.effect_html(Effect("solution", 5.0, -0.25, 3), 2, "order only")


def test_notes_tells_warnings_and_notes_apart(open_app, root):
    app = open_app(root, "notes", run="lost")
    assert not app.exception
    warned = [e.value.replace("\\", "") for e in app.warning]
    assert [words in warning for words, warning in zip((REASON, "another warning"), warned, strict=True)] == [True] * 2
    assert NOTE not in " ".join(warned)
    assert any(NOTE in e.value.replace("\\", "") for e in app.markdown)
    assert "<img" not in " ".join(e.value for e in app.warning).replace("\\<img", "")
    whole = open_app(root, "notes", run="whole")
    assert [e.value.replace("\\", "") for e in whole.warning] == ["One direction has nearly zero curvature."]


def test_the_lesson_teaches_no_amounts(root):
    scene = Scene(Run.open(root / "lost"))
    facts = (scene.worst_words, scene.heaviest_words, scene.share_of_few, scene.alike_words)
    assert "rank 1" in scene.worst_words
    assert "by how much is not known" in scene.worst_words
    assert not any(AMOUNT.search(fact) for fact in facts)
    assert "was predicted" not in scene.measured


def test_the_line_is_one_line_and_text_stays_text():
    assert "…" in order_only.html(["a " * 500])
    assert len(order_only.html(["a " * 500])) < 700
    assert "(and 2 more)" in order_only.html(["<b>", "c", "d"])
    assert "&lt;b&gt;" in order_only.html(["<b>"])


class Asked:
    """Stands for a study that is asked live."""

    ready = True
    warnings = order_only = ("far <b>off</b>",)
    classes = ("7", "8", "9")

    def stored(self, position):
        return position

    def scores(self, item, wanted):
        return {"pretrain": np.linspace(-1, 1, 60, dtype=np.float32)}

    def splits(self, stage):
        return False


def test_what_a_live_computation_warns_of_is_shown_and_takes_the_unit(open_app, root, component, monkeypatch):
    monkeypatch.setattr(live, "opened", lambda run: Asked())
    app = open_app(root, run="whole", explained="Margin", against="7")
    assert not app.exception
    assert [e.value for e in app.warning] == [r"far \<b\>off\</b\>"]
    assert "far &lt;b&gt;off&lt;/b&gt;" in texts(app)
    assert {column["unit"] for column in component(app, "cards")["columns"]} == {"order only"}
