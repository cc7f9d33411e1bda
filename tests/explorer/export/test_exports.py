"""What can be taken along: CSV that spreadsheets read as data, and a report that opens anywhere."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest

from explorer.export import notes, report
from explorer.export.spreadsheet import csv
from explorer.panels.lists import exports
from explorer.panels.prediction import prediction
from explorer.ui import state
from explorer.view.query import stored
from explorer.view.view import View
from influence.live import Contrast

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def view_of(run, **choices):
    known = {
        "run": run, "query": stored(run, 7),
        "stage": "pretrain", "method": "exact", "count": 5, "order": state.STRONGEST,
        "scores": np.asarray(run.scores("pretrain", "exact")[7]),
    }  # fmt: skip
    return View(**{**known, **choices})


def page_of(view, link="http://localhost:8501/?run=small&query=1007", written=None):
    contents = exports.contents(view, "Why “9”?", prediction.html(view), link, written or notes.Notes())
    return report.page(contents).decode()


@pytest.fixture
def run(small, tmp_path):
    return small.write_run(tmp_path, "small")


def test_no_cell_is_a_formula():
    table = pd.DataFrame({"=a": ["=1+1", "-2", "plain", "@x"], "score": [-0.5, 1.0, 2.0, 3.0]})
    lines = csv(table).decode("utf-8-sig").splitlines()
    assert lines[0] == "'=a,score"
    assert [line.split(",")[0] for line in lines[1:]] == ["'=1+1", "'-2", "plain", "'@x"]
    assert lines[1].endswith(",-0.5"), "numbers stay numbers"


def test_the_lists_and_all_scores_are_those_of_the_view(run):
    view = view_of(run, target=Contrast("9", "4"))
    listed = pd.read_csv(io.BytesIO(csv(exports.list_table(view))))
    assert listed["list"].tolist() == ["helpful"] * 5 + ["harmful"] * 5
    assert listed["score_nat"].tolist() == pytest.approx(view.scores[view.lists.positions].tolist())
    assert set(listed["query"]) == {1007}
    everything = pd.read_csv(io.BytesIO(csv(exports.score_table(view))))
    assert len(everything) == 60
    assert np.abs(everything["score_nat"]).is_monotonic_decreasing
    assert set(everything["explained"]) == {"the loss of “9” minus the loss of “4”"}


def test_the_report_has_everything_inside_and_fetches_nothing(run):
    text = page_of(view_of(run))
    assert re.findall(r'(?:src|href)="(?!data:image/)([^"]*)"', text) == [
        "http://localhost:8501/?run=small&amp;query=1007"
    ]
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert "<script" not in text
    assert text.count('<li class="card">') == 10
    assert text.count("data:image/png;base64,") == 11
    for part in ("▲ <b>Helpful</b>", "<svg", "Totals by class", "One direction has nearly zero curvature", "seed 0"):
        assert part in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert re.search(r"Written \d{4}-\d\d-\d\d \d\d:\d\d UTC", text)


@pytest.mark.parametrize("text", [False, True])
def test_hostile_data_stays_text_in_the_report(small, tmp_path, text):
    run = small.write_run(tmp_path, "hostile", hostile=HOSTILE, text=text)
    note = notes.Note("pretrain", 3, (), HOSTILE)
    view = view_of(run, group=HOSTILE if not text else None, shading=state.TOKENS)
    own = {("queries", 1007): note, **{("pretrain", int(i)): note for i in view.examples["id"]}}
    page = page_of(view, link=f"javascript:{HOSTILE}", written=notes.Notes(own))
    assert HOSTILE not in page
    assert "<script" not in page
    assert "<img src=x" not in page
    assert 'href="javascript' not in page
    assert page.count("alert(2)&gt;") > 5


def test_texts_are_whole_and_shaded(small, tmp_path):
    run = small.write_run(tmp_path, "words", text=True)
    view = view_of(run, shading=state.TOKENS)
    page = page_of(view)
    listed = view.examples["text"].iloc[view.lists.positions]
    shown = [re.sub(r"<[^>]*>", "", part) for part in re.findall(r'<p class="passage" dir="auto">(.*?)</p>', page)]
    assert [text.replace("not read by the model ", "") for text in shown] == listed.tolist()
    assert page.count('class="share helpful"') + page.count('class="share harmful"') > 20
    assert "--weight:1.000" in page


def test_what_narrows_the_lists_down_is_said(run):
    view = view_of(run, group="1", order=state.RELATIVE)
    page = page_of(view, link=None)
    assert "Only examples of the class 1." in page
    assert "in the order of score over" in page.lower()
    assert "no link leads to it" in page


def test_a_list_without_cards_and_equal_scores_can_be_drawn(run):
    page = page_of(view_of(run, scores=np.zeros(60, dtype=np.float32)))
    assert "No example has a helpful score." in page


def test_explore_offers_the_three_files(open_app, small_root):
    app = open_app(small_root)
    labels = [button.proto.label for button in app.get("download_button")]
    assert labels == ["Lists as CSV", "All scores as CSV", "Report"]
