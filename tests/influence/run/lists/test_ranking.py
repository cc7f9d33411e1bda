"""Which examples come first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from influence import Scores
from influence.run.lists.ranking import top

ROW = np.array([0.5, -2.0, 0.0, 3.0, -0.5, 0.5], dtype="float32")


def test_strongest_first_and_ties_to_the_lower_position():
    assert top(ROW, 6).tolist() == [3, 0, 5]
    assert top(ROW, 6, helpful=False).tolist() == [1, 4]
    assert top(ROW, 2).tolist() == [3, 0]
    assert top(ROW, 1, helpful=False).tolist() == [1]


def test_nothing_to_list():
    assert top(ROW, 0).tolist() == []
    assert top(np.zeros(3), 3).tolist() == []
    assert top(-np.ones(3), 3).tolist() == []
    assert top(np.empty(0), 3).tolist() == []


def test_what_is_not_a_number_is_never_listed():
    row = np.array([np.nan, 1.0, -1.0, np.inf])
    assert top(row, 4).tolist() == [3, 1]
    assert top(row, 4, helpful=False).tolist() == [2]


def test_negative_count_is_refused():
    with pytest.raises(ValueError, match="k is -1, expected 0 or more"):
        top(ROW, -1)


@given(st.lists(st.floats(-9, 9, width=32), max_size=30), st.integers(0, 40), st.booleans())
def test_against_sorting_by_hand(values, k, helpful):
    sign = 1 if helpful else -1
    expected = sorted((i for i, v in enumerate(values) if sign * v > 0), key=lambda i: (-sign * values[i], i))[:k]
    assert top(np.array(values, dtype="float32"), k, helpful).tolist() == expected


def test_scores_list_their_top():
    scores = Scores(np.stack([ROW, -ROW]), "pretrain", {"method": "exact"})
    table = scores.top(0, 2)
    assert table.to_dict("list") == {"id": [3, 0], "score": [3.0, 0.5], "rank": [1, 2]}
    assert scores.top(1, 5, helpful=False)["id"].tolist() == [3, 0, 5]
    assert repr(scores) == "Scores(2 queries x 6 examples of 'pretrain', exact)"


@pytest.mark.parametrize("query", [-1, 2])
def test_unknown_query(query):
    with pytest.raises(IndexError, match=f"There is no query {query}; the queries are 0 to 1"):
        Scores(np.stack([ROW, ROW]), "pretrain", {}).top(query, 1)
