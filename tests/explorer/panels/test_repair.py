"""The parts of Suspects as plain functions."""

import pandas as pd
import pytest

from explorer.panels.repair import corrected, effect, judge
from explorer.panels.repair.subject import Subject
from explorer.ui import theme
from explorer.view import criterion
from influence import Run
from influence.live import LEAVE_OUT, RELABEL, Alteration

NAT = theme.Unit("nat", 1.0)
HOSTILE = "<b>~50%</b>"


@pytest.fixture(scope="module")
def run(small_root):
    return Run.open(small_root / "small")


def subject(run, *basket, judged=None):
    return Subject(run, "pretrain", judged or criterion.of_slice(run, "all", 0), basket)


@pytest.mark.parametrize(
    ("total", "together", "apart"), [(1, 0.81, False), (1, 0.79, True), (1, 1.3, False), (0.7, 1, True), (1, -1, True)]
)
def test_sum_and_together_part_by_more_than_a_quarter(total, together, apart):
    assert effect.apart(total, together) is apart


def test_bars_share_a_scale_and_say_the_direction_in_words():
    html = effect.bars_html({"sum": -1.0, "together": -0.5}, NAT)
    assert 'width:100.0%"' in html
    assert 'width:50.0%"' in html
    assert "↓ 0.50 nat" in html
    both = effect.bars_html({"sum": 1.0, "together": -0.5}, NAT)
    assert "up-across" in both
    assert "↑ 1.0 nat" in both


def test_edits_of_every_kind_are_told_with_what_they_are_judged_by(run):
    out, label = Alteration(LEAVE_OUT, "pretrain", 3), Alteration(RELABEL, "pretrain", 4, "2")
    assert "Without it, the summed loss of these 40 is" in effect.effect_text(subject(run, out), -1.0, NAT)
    both = effect.effect_text(subject(run, out, label), 1.0, NAT)
    assert "**2** in the basket. With these edits," in both
    assert "rise by **1.0 nat**" in both
    error = subject(run, out, judged=criterion.of_error(run, "8"))
    points = error.unit(pd.Series([0.1]).to_numpy())
    said = effect.effect_text(error, -0.031, points)
    assert "the error of class “8” is predicted to fall by **3.1 percentage points**, now 10 %" in said
    gap = subject(run, out, judged=criterion.of_gap(run, "label", "7", "9"))
    assert "the gap in mean loss" in effect.effect_text(gap, -0.1, NAT)
    assert "stay as it is" in effect.effect_text(gap, 0.0, NAT)


def test_leaving_out_needs_no_model(run):
    basket = [Alteration(LEAVE_OUT, "finetune", 503), Alteration(LEAVE_OUT, "pretrain", 3)]
    found = effect.alone(subject(run, *basket))
    assert found == pytest.approx([run.scores("finetune")[:, 3].sum(), run.scores("pretrain")[:, 3].sum()], abs=1e-6)


def test_two_groups_survive_the_link_whatever_they_are_called():
    table = pd.DataFrame({"a~%": [HOSTILE, "x", "x", HOSTILE], "loss": [1.0, 2.0, 3.0, 1.5]})
    text = judge.gap_text("a~%", HOSTILE, "x")
    assert judge.gap_parsed(table, text) == ("a~%", HOSTILE, "x")
    for bad in ("", "a~%", "loss~1~2", judge.gap_text("a~%", "x", "x"), judge.gap_text("a~%", "x", "y"), "b~x~y"):
        assert judge.gap_parsed(table, bad) is None
    assert judge.usual_gap(table, "a~%") == ("a~%", "x", HOSTILE)


def test_corrected_data_keep_their_ids_and_say_what_was_changed(run):
    of = subject(run, Alteration(LEAVE_OUT, "pretrain", 3), Alteration(RELABEL, "pretrain", 4, "2"))
    data, changes = corrected.table(of, "pretrain"), corrected.table(of, "pretrain-changes")
    assert data["id"].tolist() == [name for name in range(60) if name != 3]
    assert data.set_index("id")["label"][4] == "2"
    assert "image" not in data
    assert changes["id"].tolist() == [3, 4]


def test_an_edit_that_cannot_be_made_is_told_in_the_file(run):
    of = subject(run, Alteration(LEAVE_OUT, "pretrain", 3), Alteration(RELABEL, "pretrain", 999, "2"))
    assert "999" in corrected.table(of, "pretrain")["problem"][0]
