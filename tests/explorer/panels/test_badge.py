"""The badge of stability: what it says of a list, and where it leads."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import small_checks
from small_run import write_run

from explorer.panels.lists import badge
from explorer.trust import evidence
from explorer.ui import theme
from influence.run.records import Training

UNIT = theme.Unit("mnat", 1e3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_checks.checked(write_run(tmp_path_factory.mktemp("runs"), "small"))


def test_it_tells_how_many_stay_at_the_fewest(run):
    found = badge.of(run, "pretrain", 7, np.array([], int), UNIT)
    table = run.validation("stability")
    shares = table[table["query"] == 7].groupby("changed")["overlap"].mean()
    fewest, most = round(10 * shares.min()), round(10 * shares.max())
    assert f"{fewest} to {most} of 10 stay" in found.words
    assert "another training seed" in found.detail
    assert found.known


def test_a_training_that_did_not_end_at_a_minimum_is_told(monkeypatch, run):
    assert "minimum" not in badge.of(run, "pretrain", 7, np.array([], int), UNIT).words
    stages = [
        dataclasses.replace(stage, training=Training(gradient_norm=norm))
        for stage, norm in zip(run.manifest.stages, (0.08, 1e-9), strict=True)
    ]
    monkeypatch.setattr(run, "manifest", dataclasses.replace(run.manifest, stages=tuple(stages)))
    assert evidence.unsettled(run) == {"pretrain": 0.08}
    assert badge.of(run, "pretrain", 7, np.array([], int), UNIT).words.endswith("; not trained to a minimum")


def test_symbol_and_word_go_by_the_fewest(monkeypatch, run):
    for share, word in ((0.9, "Steady"), (0.5, "Partly steady"), (0.1, "Unsteady")):
        stays = evidence.Stays(10, {"damping": 1.0, "curvature": share})
        monkeypatch.setattr(evidence, "stays", lambda *_, stays=stays: stays)
        found = badge.of(run, "pretrain", 0, np.array([], int), UNIT)
        assert found.words.startswith(word)
        assert found.symbol == {w: s for s, w in badge.STEADY.values()}[word]


def test_shown_examples_that_were_really_left_out_are_told(run):
    singles = evidence.left_out_singly(run, "pretrain", 7)
    example = int(singles["example"].iloc[0])
    found = badge.of(run, "pretrain", 7, np.array([example, 59]), UNIT)
    assert "1 of those shown was really left out" in found.words
    assert f"#{example}: predicted {UNIT.text(singles['predicted'].iloc[0])}" in found.detail


def test_without_checks_it_is_honest_and_grey(tmp_path):
    run = write_run(tmp_path, "bare")
    drawn = badge.html(badge.of(run, "pretrain", 7, np.array([1, 2]), UNIT), 1007)
    assert badge.UNKNOWN in drawn
    assert "up-quiet" in drawn
    assert "trust?query=1007" in drawn


def test_another_stages_lists_were_not_checked(run):
    assert badge.of(run, "finetune", 7, np.array([1]), UNIT).words == badge.UNKNOWN


def test_another_method_does_not_make_a_list_unsteady_but_is_told(run):
    shares = {"damping": 0.8, "training seed": 1.0}
    with_method = evidence.Stays(10, {**shares, "method": 0.2})
    assert (with_method.fewest, with_method.most) == (8, 10)
    assert "another method: 2 of 10" in with_method.words()
    assert evidence.Stays(10, {"method": 0.2}).fewest == 2
