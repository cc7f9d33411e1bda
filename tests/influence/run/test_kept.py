"""What is kept of scores, read: a run may come from a stranger."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from influence.errors import RunError
from influence.run import Kept, Run, StageScores, stored_scores
from influence.run.files import checksum
from influence.run.kept import histogram
from influence.run.parts import Parts

STRONGEST, TOTALS = "strongest/pretrain-exact.parquet", "totals/pretrain-exact.parquet"


@pytest.fixture
def changed(strongest_roots, tmp_path):
    """A function that changes a table, and what the run then says is kept of the first stage's scores."""
    run = Run.open(strongest_roots[1] / "run")
    shutil.copytree(run.path, tmp_path / "run")
    record = next(each for each in run.manifest.scores if (each.stage, each.method) == ("pretrain", "exact"))

    def change(name, make):
        path = tmp_path / "run" / name
        make(pd.read_parquet(path)).to_parquet(path, index=False)
        return Kept(Parts(tmp_path / "run", {**run.manifest.files, name: checksum(path)}), record)

    return change


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [("example", 10**6, "holds 1000000"), ("query", -1, "holds -1"), ("score", np.nan, "not finite")],
)
def test_lists_of_what_is_not_there_are_refused(changed, column, value, words):
    kept = changed(STRONGEST, lambda table: table.assign(**{column: value}))
    with pytest.raises(RunError, match=f"{STRONGEST} .*{words}"):
        _ = kept.every_strongest


def test_lists_are_in_order_whatever_the_file_says(changed, strongest_roots):
    whole = Run.open(strongest_roots[1] / "run").kept("pretrain", "exact")
    kept = changed(STRONGEST, lambda table: table.iloc[::-1])
    for ours, theirs in zip(kept.strongest(2), whole.strongest(2), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.iloc[:-1], "rows for"),
        (lambda table: table.assign(width=-1.0), "bars of width"),
        (lambda table: table.assign(width=np.inf), "bars of width"),
        (lambda table: table.assign(counts=[[1, 2]] * len(table)), "has 2 bars"),
    ],
)
def test_histograms_of_another_form_are_refused(changed, change, words):
    with pytest.raises(RunError, match=f"{TOTALS} .*{words}"):
        changed(TOTALS, change).counts(0)


def test_sums_of_other_groups_are_refused(changed):
    kept = changed(TOTALS, lambda table: table.assign(helpful=[[1.0]] * len(table), harmful=[[0.0]] * len(table)))
    with pytest.raises(RunError, match="has 1 sums of 3 groups"):
        kept.totals(0)


def test_a_sample_of_examples_that_are_not_there_is_refused(changed):
    kept = changed("sample/pretrain.parquet", lambda table: table + 1000)
    with pytest.raises(RunError, match="sample/pretrain.parquet .*holds"):
        _ = kept.sample


def test_one_face_for_both_kinds_of_run(strongest_roots):
    dense, kept = (StageScores(Run.open(root / "run"), "pretrain", "exact") for root in strongest_roots)
    assert dense.shape == kept.shape
    assert not dense.lacks
    assert "--keep all" in kept.lacks
    for query in range(dense.shape[0]):
        for one, other in zip(dense.lists(query, 10), kept.lists(query, 10), strict=True):
            np.testing.assert_array_equal(one, other)
        assert kept.absolute(query) == pytest.approx(dense.absolute(query), rel=1e-12)
        row, known = dense.row(query), kept.row(query)
        there = np.isfinite(known)
        assert 14 <= there.sum() < len(row)
        np.testing.assert_array_equal(known[there], row[there])
        one, other = dense.histogram(query, 41), kept.histogram(query, 41)
        np.testing.assert_allclose(one[1], other[1], rtol=1e-5)  # numpy's of float32 are float32
        assert one[0].sum() == other[0].sum()


def test_stored_scores_are_those_of_the_lists_alone(strongest_roots):
    found = stored_scores(Run.open(strongest_roots[1] / "run"), 0, ["pretrain"])["pretrain"]
    assert np.isfinite(found).sum() <= 20


def test_histograms_add_up_whatever_their_widths():
    generator = np.random.default_rng(0)
    scores = (generator.normal(size=(4, 900)) * 10.0 ** generator.integers(-9, 3, (4, 900))).astype(np.float32)
    scores[0] = 0
    whole = histogram.exponents(scores)
    parts = [scores[:, at : at + 100] for at in range(0, 900, 100)]
    counted = [(histogram.exponents(part), part) for part in parts]
    added = sum(histogram.widened(histogram.counted(part, width), width, whole) for width, part in counted)
    np.testing.assert_array_equal(added, histogram.counted(scores, whole))
