"""The verdict by its rules, on runs whose measurements are made to agree or not."""

from __future__ import annotations

import numpy as np
import pytest
import small_checks
from small_run import restaged, restated, write_run

from explorer.panels.trust import verdict as panel
from explorer.trust import verdict
from explorer.trust.verdict import NO, PARTLY, UNKNOWN, YES
from influence.run.additions import add_tables
from influence.run.records import Training
from influence.validation.suite import COLUMNS


def run_with(tmp_path, checks=(), **how):
    return small_checks.checked(write_run(tmp_path, "small"), checks, **how)


def marks(found):
    return [answer.mark for answer in found.findings]


def test_what_was_predicted_and_stays_is_believed(tmp_path):
    found = verdict.of(run_with(tmp_path, noise=0.1, seeds=0.1))
    assert found.level == YES
    assert found.headline.startswith("Yes: leaving examples out did")
    assert marks(found) == [YES] * 6


def test_other_lists_of_another_training_are_said(tmp_path):
    found = verdict.of(run_with(tmp_path, noise=0.1, seeds=20.0))
    assert found.level == YES
    assert "for this very model" in found.headline
    assert "Another training of it has other lists" in found.advice
    assert marks(found)[-1] == NO


def test_the_same_seed_again_is_no_other_training(tmp_path):
    found = verdict.of(run_with(tmp_path, ["leave-one-out"], noise=0.05))
    assert marks(found) == [YES] + [UNKNOWN] * 5
    assert "by the same seed" in found.findings[-1].words
    assert "was not checked" in found.advice
    assert "1 of 6 questions are answered so far" in panel.html(found)


def test_rough_agreement_is_a_spread(tmp_path):
    found = verdict.of(run_with(tmp_path, ["leave-one-out", "stability"], noise=1.5, seeds=0.1))
    assert found.level == PARTLY
    assert "As a spread" in found.headline


def test_what_was_not_predicted_is_not_believed(tmp_path):
    found = verdict.of(run_with(tmp_path, noise=30.0))
    assert found.level == NO
    assert "did not predict what retraining did" in found.headline


def test_scores_that_beat_nothing_simpler_are_not_believed(tmp_path):
    run = run_with(tmp_path, noise=0.1)
    summary = run.validation("summary")
    own = summary["what"] == "rank correlation, the run's own"
    worse = summary.assign(**{name: summary[name].where(~own, -0.5) for name in ("value", "low", "high")})
    found = verdict.of(add_tables(run, {"summary": worse}))
    assert found.level == NO
    assert "something simpler" in found.headline


def test_lists_without_which_no_loss_rises_are_not_believed(tmp_path):
    run = run_with(tmp_path, noise=0.1)
    summary = run.validation("summary")
    rises = summary["check"] == "strongest"
    falls = summary.assign(value=summary["value"].where(~rises, -0.1))
    found = verdict.of(add_tables(run, {"summary": falls}))
    assert (found.level, found.findings[2].mark) == (NO, NO)
    # A list that is no better than a simpler one is said, and is no reason to believe none.
    own = rises & (summary["what"] == "rise, the run's own")
    beaten = summary.assign(value=summary["value"].where(~rises | own, 1e3))
    found = verdict.of(add_tables(run, {"summary": beaten}))
    assert (found.level, found.findings[2].mark) == (YES, PARTLY)
    assert "by the best of 1 simpler lists" in found.findings[2].words


def test_nothing_is_said_of_too_little(tmp_path):
    run = run_with(tmp_path, ["stability", "noise"])
    found = verdict.of(run)
    assert found.level == UNKNOWN
    assert marks(found)[:4] == [UNKNOWN] * 4
    assert marks(found)[4] == YES
    assert marks(verdict.of(write_run(tmp_path, "bare"))) == [UNKNOWN] * 6


def test_few_examples_are_too_few(tmp_path):
    run = run_with(tmp_path, ["leave-one-out"])
    summary = run.validation("summary").assign(count=np.int32(4))
    answer = verdict.single_examples(add_tables(run, {"summary": summary}), "solution")
    assert answer.mark == UNKNOWN
    assert "Only 4" in answer.words


def test_a_wrong_size_is_only_an_order(tmp_path):
    run = run_with(tmp_path, ["leave-one-out"], noise=0.05)
    summary = run.validation("summary")
    tenfold = summary["value"].where(~summary["what"].str.startswith("slope"), 10.0)
    answer = verdict.single_examples(add_tables(run, {"summary": summary.assign(value=tenfold)}), "solution")
    assert answer.mark == PARTLY
    assert "the order, not the size" in answer.words


def test_scores_without_a_unit_have_no_size(tmp_path):
    run = run_with(tmp_path, ["leave-one-out"], noise=0.05)
    restated(run, default_method="identity")
    answer = verdict.single_examples(run, "solution")
    assert answer.mark == YES
    assert "no unit" in answer.words


def test_models_short_of_a_minimum_are_judged_from_scratch(tmp_path):
    run = run_with(tmp_path, ["leave-one-out"], noise=0.05)
    assert "trained on from the solution" in verdict.single_examples(run, verdict.judged(run)).words
    restaged(run, 0, training=Training(converged=False))
    found = verdict.of(run)
    assert "trained from scratch" in found.findings[0].words
    assert found.findings[-1].words == "No other seed was tried."


def test_training_on_from_no_minimum_speaks_for_scores_but_not_against_them(tmp_path):
    run = run_with(tmp_path, ["leave-one-out", "subsets"], noise=30.0)
    assert verdict.single_examples(run, "solution").mark == verdict.whole_sets(run, "solution").mark == NO
    restaged(run, 0, training=Training(converged=False))
    for answer in (verdict.single_examples(run, "solution"), verdict.whole_sets(run, "solution")):
        assert answer.mark == UNKNOWN
        assert "only training from scratch can tell" in answer.words
    assert verdict.single_examples(run, "scratch").mark == NO


def test_an_interval_counts_at_its_low_end(tmp_path):
    run = run_with(tmp_path, ["leave-one-out"], noise=0.05)
    summary = run.validation("summary")
    wide = summary.assign(low=summary["low"].where(~summary["what"].str.startswith("Pearson"), 0.4))
    assert verdict.single_examples(add_tables(run, {"summary": wide}), "solution").mark == PARTLY


@pytest.mark.parametrize(
    ("given", "is_worst"), [((YES, NO), NO), ((UNKNOWN, PARTLY), PARTLY), ((UNKNOWN,), UNKNOWN), ((), UNKNOWN)]
)
def test_the_worst_of_what_is_known(given, is_worst):
    assert verdict.worst(*given) == is_worst


def test_what_is_drawn_is_escaped(tmp_path):
    answer = verdict.Finding("<b>?", YES, "<script>")
    drawn = panel.html(verdict.Verdict(YES, "<i>", "<u>", [answer]))
    assert "&lt;script&gt;" in drawn
    assert not any(tag in drawn for tag in ("<script", "<i>", "<u>", "<b>?"))


def test_the_summary_is_as_the_contract_says(tmp_path):
    assert tuple(run_with(tmp_path, ["noise"]).validation("summary").columns) == COLUMNS
