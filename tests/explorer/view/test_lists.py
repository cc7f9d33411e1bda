"""Orders and sums of one query's scores."""

import numpy as np
import pandas as pd
import pytest

from explorer.view import lists

SCORES = np.array([0.5, -0.1, 2.0, 0.0, -3.0, 0.5], dtype="float32")
EVERYTHING = np.ones(6, dtype=bool)


def test_positive_is_helpful_and_zero_is_neither():
    found = lists.ranked(SCORES, 10, EVERYTHING)
    assert found.helpful.tolist() == [2, 0, 5]
    assert found.harmful.tolist() == [4, 1]


def test_only_kept_examples_are_listed():
    found = lists.ranked(SCORES, 10, np.array([1, 1, 0, 1, 0, 1], dtype=bool))
    assert found.helpful.tolist() == [0, 5]
    assert found.harmful.tolist() == [1]


def test_relative_order_divides_by_the_gradient_norm():
    norms = np.array([0.1, 1, 10, 1, 100, 0], dtype="float32")
    shares = lists.relative(SCORES, norms)
    assert np.abs(shares).max() == 1
    found = lists.ranked(shares, 10, EVERYTHING)
    assert found.helpful.tolist() == [0, 2]
    assert found.harmful.tolist() == [1, 4]


def test_nothing_kept_gives_empty_lists():
    assert len(lists.ranked(SCORES, 5, np.zeros(6, dtype=bool)).positions) == 0


def test_one_list_follows_its_order_and_knows_the_signs():
    found = lists.one(SCORES, 3, np.array([1, 1, 0, 1, 1, 1], dtype=bool), np.array([5, 2, 4, 3, 1, 0]))
    assert found.single.tolist() == found.positions.tolist() == [5, 4, 3]
    assert (found.helpful.tolist(), found.harmful.tolist()) == ([5], [4])


def test_rank_counts_within_the_sign():
    assert [lists.rank(SCORES, place) for place in (2, 0, 5, 4, 1)] == [1, 2, 2, 1, 2]


def test_share_is_of_absolute_influence():
    assert lists.share(SCORES, np.array([4])) == pytest.approx(3 / 6.1)
    assert lists.share(np.zeros(3, dtype="float32"), np.array([0])) == 0


def test_totals_keep_helpful_and_harmful_apart():
    table = lists.totals(SCORES, pd.Series(list("aabbba")))
    assert table.loc["a"].tolist() == pytest.approx([1.0, -0.1, 3, 0.9])
    assert table.loc["b", ["helpful", "harmful"]].tolist() == pytest.approx([2.0, -3.0])


@pytest.mark.parametrize("count", [0, 2, 6, 100])
def test_a_shortened_table_and_the_others_are_the_whole(count):
    table = lists.singles(SCORES, np.arange(6))
    shown, others = lists.shortened(table, count)
    assert shown.index.tolist() == [4, 2, 0, 5, 1, 3][:count]
    assert sorted([*shown.index, *others.index]) == list(range(6))
    whole = lists.totals(SCORES, pd.Series(["all"] * 6)).loc["all"]
    assert (shown.sum() + others.sum())[whole.index].tolist() == pytest.approx(whole.tolist())


def test_histogram_counts_everything_and_is_symmetric():
    counts, edges = lists.histogram(SCORES)
    assert counts.sum() == len(SCORES)
    assert edges[0] == -edges[-1] == -3
    assert lists.histogram(np.zeros(4, dtype="float32"))[0].sum() == 4


def test_clip_limit_is_never_zero():
    assert lists.clip_limit(np.zeros(4, dtype="float32")) == 1
    assert lists.clip_limit(np.array([0] * 1000 + [2], dtype="float32")) == 2
