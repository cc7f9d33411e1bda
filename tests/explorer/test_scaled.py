"""A run whose scores retraining gave a slope: amounts by it on every page, and it is told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import small_checks
from small_run import restaged, restated, write_run

from explorer.panels.lists import exports
from explorer.panels.what_if import panel
from explorer.trust import verdict
from explorer.ui import state, theme
from explorer.view.query import stored
from explorer.view.view import View
from influence.cli.options import told
from influence.run import Run, add_tables, slope_of
from influence.validation import CHECKS
from influence.validation.suite import _summary

REASON = "Stage 'pretrain': losses fall below <b>0</b>"


def measured(run: Run, times: float, noise: float = 0.1) -> Run:
    """The run with leave-one-out as if losses changed `times` as much as its scores say."""
    run = small_checks.checked(run, ("leave-one-out", "noise"), noise=noise)
    table = run.validation("leave-one-out").copy()
    table["measured"] *= np.float32(times)
    summary = _summary(run, CHECKS["leave-one-out"], table)
    return add_tables(run, {"leave-one-out": table, "summary": summary})


def lost(run: Run) -> Run:
    records = [
        dataclasses.replace(r, report={**r.report, "unit": "order only", "order_only": [REASON]})
        for r in run.manifest.scores
        if r.stage == "pretrain"
    ]
    return restated(run, scores=(*records, *(r for r in run.manifest.scores if r.stage != "pretrain")))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("scaled")
    lost(measured(write_run(root, "rescued"), 0.25))
    measured(write_run(root, "larger"), 4.0)
    measured(write_run(root, "as-said"), 0.9)
    lost(measured(write_run(root, "noisy"), 0.25, noise=5.0))
    return root


def opened(root, name: str) -> Run:
    return Run.open(root / name)


@pytest.mark.parametrize(("name", "times"), [("rescued", 0.25), ("larger", 4.0)])
def test_a_slope_is_taken_where_it_is_needed_and_known(root, name, times):
    run = opened(root, name)
    slope = slope_of(run, "exact", "pretrain")
    assert slope.times == pytest.approx(times, rel=0.1)
    assert f"scores times {slope.times:.2g}" in slope.words
    assert slope_of(run, "exact", "finetune") is None  # nothing was left out there
    assert slope_of(run, "identity", "pretrain") is None


@pytest.mark.parametrize("name", ["as-said", "noisy"])
def test_nats_as_they_are_and_scores_that_do_not_agree_have_none(root, name):
    assert slope_of(opened(root, name), "exact", "pretrain") is None


def test_what_if_says_that_its_changes_are_not_scaled(root):
    assert "not scaled" in panel.not_scaled(opened(root, "larger"), "pretrain")
    assert panel.not_scaled(opened(root, "as-said"), "pretrain") == ""


def test_training_on_from_no_minimum_measures_no_slope(tmp_path):
    run = measured(write_run(tmp_path, "early"), 4.0)
    assert slope_of(run, "exact", "pretrain")
    training = dataclasses.replace(run.manifest.stages[0].training, converged=False)
    early = restaged(run, 0, training=training)
    table = early.validation("summary")
    alone = add_tables(early, {"summary": table[table["start"] == "solution"]})
    assert slope_of(alone, "exact", "pretrain") is None  # from scratch nothing was measured


def test_amounts_of_a_view_are_scores_times_the_slope(root):
    run = opened(root, "rescued")
    view = View(run, stored(run, 7), "pretrain", "exact", np.asarray(run.scores()[7]), 5, state.STRONGEST)
    times, largest = view.slope.times, float(np.abs(view.scores).max())
    assert view.order_only == ()
    assert view.unit.words.endswith("nat, scaled")
    assert view.unit.full(largest) == f"{largest * times:+.6g} nat, scaled"
    assert view.unit.text(largest) == theme.signed(largest * times * {"nat": 1, "mnat": 1e3}[view.unit.name])
    assert "score_nat_not_scaled" in exports.list_table(view)  # tables have the numbers of the run
    assert "score_nat_not_scaled" in exports.score_table(view)
    assert view.slope.words in exports.contents(view, "Why?", "", None, exports.note.notes.Notes()).sentences
    doubted = dataclasses.replace(view, told=("far off",))
    assert doubted.order_only == (REASON, "far off")
    assert doubted.unit.name == ""


@pytest.mark.parametrize("page", ["", "item", "suspects"])
def test_pages_show_amounts_and_say_by_what(open_app, root, component, page):
    app = open_app(root, page, run="rescued")
    assert not app.exception
    said = " ".join(str(e.value) for e in (*app.markdown, *app.caption)) + "".join(
        e.proto.body for e in app.get("html")
    )
    assert "pretraining scores times 0.2" in said  # the header
    assert "Order only" not in said
    if page == "suspects":
        (table,) = (frame.value for frame in app.dataframe)
        assert any("nat, scaled" in column for column in table.columns)
        assert "self-influence, order only" in table.columns  # of which nothing was measured
        return
    assert "<b>Scaled</b>: Amounts are scores times 0.2" in said
    column = component(app, "cards")["columns"][0]
    assert column["unit"].endswith("nat, scaled")
    assert not column["cards"][0]["score"].startswith("rank")


def test_compare_sets_amounts_of_two_slopes_on_two_axes(open_app, root, component):
    for name, units in (("rescued", {"mnat, scaled", "mnat"}), ("larger", {"mnat, scaled", "mnat"})):
        app = open_app(root, "compare", run=name)
        assert not app.exception
        columns = component(app, "joined_lists")["columns"]
        assert {column["unit"] for column in columns} <= units | {"nat, scaled"}
        assert any("scaled" in column["unit"] for column in columns)
    learn = open_app(root, "learn", run="rescued", lesson="3")
    assert not learn.exception


def test_a_run_says_it_in_a_terminal_and_trust_judges_by_it(root):
    run = opened(root, "rescued")
    first, second, *_ = told(run)
    assert first == "Order only: the size of scores of pretrain means nothing, their order within a query does."
    assert second.startswith("pretrain: Amounts are scores times 0.2")
    assert "lists show them by the slope that was measured" in verdict.of(run).advice


def test_trust_says_of_amounts_that_another_seed_hides_them(root):
    run = opened(root, "as-said")
    for noise, hidden in ((1e3, True), (1e-9, False)):
        table = run.validation("summary").copy()
        table.loc[table["what"] == "noise, seed", "value"] = np.float32(noise)
        run = add_tables(run, {"summary": table})
        assert ("such amounts cannot be seen" in verdict.another_training(run).words) is hidden
