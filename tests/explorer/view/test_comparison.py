"""How far two answers agree."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from explorer.view import comparison
from explorer.view.query import stored
from influence import Run


@pytest.fixture
def pair(small_root):
    run = Run.open(small_root / "small")
    scores = run.scores("pretrain")
    sides = [comparison.Side(run, stored(run, row), "pretrain", "exact", None, scores[row]) for row in (3, 4)]
    return comparison.Pair(*sides, 5)


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 200)).round(1)
    assert comparison.rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert comparison.rank_correlation(a, a**3) == pytest.approx(1)
    assert comparison.rank_correlation(a, -a) == pytest.approx(-1)
    assert np.isnan(comparison.rank_correlation(a, np.zeros(200)))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1, "the same order"),
        (0.96, "nearly"),
        (0.8, "much the same"),
        (0.31, "loosely"),
        (0, "hardly"),
        (-0.5, "opposite"),
        (np.nan, "no order"),
    ],
)
def test_every_correlation_has_words(value, words):
    assert words in comparison.order_words(value)


def test_overlap_is_counted_within_each_list_at_every_length(pair):
    table = comparison.overlaps(pair).set_index("list of")
    assert table.index.tolist() == [5, 10, 20, 50]
    first = [set(np.argsort(-side.scores)[:20]) for side in (pair.a, pair.b)]
    assert table.loc[20, "helpful in both"] == len(first[0] & first[1])
    assert table.loc[20, "by chance"] == pytest.approx(20 * 20 / 60)


def test_listed_has_every_card_once_with_its_rank_on_both_sides(pair):
    table = comparison.list_table(pair)
    assert table["id"].is_unique
    assert set(table["id"]) == set(np.concatenate([lists.positions for lists in pair.lists]))
    first = table.iloc[0]
    assert first["rank in A"] == "▲ 1"
    assert first["score in B, nat"] == pair.b.scores[first["id"]]


def test_units_are_one_unless_one_side_has_none(pair):
    assert pair.units[0] == pair.units[1]
    mixed = dataclasses.replace(pair, b=dataclasses.replace(pair.b, method="identity"))
    assert [unit.name for unit in mixed.units] == ["mnat", ""]


def test_scores_follow_the_order_of_as_examples(pair):
    rows = np.arange(60)[::-1]
    assert pair.b.ordered(rows).scores.tolist() == pair.b.scores[::-1].tolist()


def test_every_score_is_tabled_strongest_first(pair):
    table = comparison.score_table(pair)
    assert len(table) == 60
    strongest = {np.abs(side.scores).argmax() for side in (pair.a, pair.b)}
    assert set(table["id"].head(2)) == strongest
