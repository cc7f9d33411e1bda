"""Statistics against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from influence.validation.statistics import found_by, interval, mean_interval, overlap, pearson, slope, spearman

rng = np.random.default_rng(0)


def test_correlations_are_scipys_row_by_row_with_ties():
    a, b = rng.normal(size=(5, 30)), rng.integers(0, 4, (5, 30)).astype(float)
    for row in range(5):
        assert spearman(a, b)[row] == pytest.approx(scipy.stats.spearmanr(a[row], b[row]).statistic)
        assert pearson(a, b)[row] == pytest.approx(scipy.stats.pearsonr(a[row], b[row]).statistic)


def test_a_constant_row_has_no_correlation():
    assert np.isnan(pearson(np.full((1, 7), 0.1), rng.normal(size=(1, 7)))).all()
    assert np.isnan(spearman(np.full((1, 7), 0.1), rng.normal(size=(1, 7)))).all()


def test_an_exactly_linear_model_has_an_lds_of_one_and_random_scores_of_nought():
    scores, left_out = rng.normal(size=(200, 40)), rng.random((40, 60)) < 0.5
    measured = scores @ left_out
    np.testing.assert_allclose(spearman(scores @ left_out, measured), 1)
    assert abs(spearman(rng.normal(size=(200, 40)) @ left_out, measured).mean()) < 0.05


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = 0
    for seed in range(200):
        draws = np.random.default_rng(seed).normal(1.0, 2.0, 40)
        low, high = interval(lambda rows, d=draws: float(d[rows].mean()), 40, np.random.default_rng(seed), 200)
        covered += low <= 1.0 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_few_values_have_no_interval():
    mean, low, high = mean_interval(np.array([1.0, 2.0, np.nan]))
    assert mean == 1.5
    assert np.isnan([low, high]).all()
    assert np.isnan(mean_interval(np.array([])))[0]


def test_slope_of_a_line():
    x = rng.normal(size=(3, 4))
    assert slope(x, 3 * x + 2) == pytest.approx(3)
    assert np.isnan(slope(np.ones((2, 2)), x[:2, :2]))


def test_overlap_counts_both_ends():
    a = np.arange(10.0)[None]
    assert overlap(a, a, 3)[0] == 1
    assert overlap(a, -a, 3)[0] == 0
    b = a.copy()
    b[0, [0, 5]] = b[0, [5, 0]]  # one of the six has changed places with one in the middle
    assert overlap(a, b, 3)[0] == pytest.approx(5 / 6)


def test_finding_at_once_late_and_by_chance():
    order = np.arange(100)
    checked, found, area = found_by(order, np.arange(10))
    assert area == pytest.approx(1 - 10 / 200)
    assert (found[10], checked[10], found[0], found[-1]) == (1, 0.1, 0, 1)
    assert found_by(order[::-1], np.arange(10))[2] == pytest.approx(10 / 200)
    areas = [found_by(np.random.default_rng(s).permutation(100), np.arange(10))[2] for s in range(300)]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.02)
