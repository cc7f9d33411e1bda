"""The rules behind the query picker."""

import pandas as pd
import pytest

from explorer.runs import queries
from influence.run import confusion


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "id": [10, 11, 12, 13, 14],
            "label": ["4", "4", "9", "9", "10"],
            "prediction": ["4", "9", "9", "4", "10"],
            "confidence": [0.9, 0.85, 0.55, 0.99, 0.58],
        }
    )


def test_opens_on_the_most_confident_mistake(table):
    assert queries.opening(table) == 3


def test_opens_on_the_one_that_the_run_names(table):
    assert queries.opening(table.assign(opening=[0, 1, 0, 0, 0])) == 1
    assert queries.opening(table.assign(opening=[0, 0, 0, 0, 0])) == 3


def test_opens_on_the_least_confident_hit_without_mistakes(table):
    assert queries.opening(table.assign(prediction=table["label"])) == 2


@pytest.mark.parametrize(
    ("show", "expected"),
    [
        (queries.ALL, [0, 1, 2, 3, 4]),
        (queries.WRONG, [3, 1]),
        (queries.CONFIDENT, [3, 1]),
        (queries.BARELY, [2, 4]),
    ],
)
def test_pills_filter_and_order(table, show, expected):
    assert queries.positions_in_list(table, show) == expected


def test_confidently_wrong_leaves_out_the_unsure_ones(table):
    table.loc[1, "confidence"] = 0.5
    assert queries.positions_in_list(table, queries.CONFIDENT) == [3]


def test_cell_narrows_every_pill(table):
    assert queries.positions_in_list(table, queries.ALL, ("9", "4")) == [3]
    assert queries.positions_in_list(table, queries.BARELY, ("9", "4")) == []


def test_confusion_counts_rows_as_true_and_orders_numbers(table):
    counts = confusion(table)
    assert list(counts.index) == ["4", "9", "10"]
    assert counts.loc["9", "4"] == 1
    assert counts.loc["4", "9"] == 1
    assert counts.to_numpy().sum() == len(table)


def test_cell_survives_the_url(table):
    classes = list(confusion(table).index)
    assert queries.parse_cell(queries.cell_text(("10", "4"), classes), classes) == ("10", "4")


@pytest.mark.parametrize("text", ["", "1", "9-9", "a-b", "-1-0", "0-1-2", "²-0"])
def test_bad_cells_are_none(text):
    assert queries.parse_cell(text, ["4", "9"]) is None


@pytest.mark.parametrize("wanted", ["", "99", "x", "1e1", "10.0", "9" * 40, "²"])
def test_unknown_ids_are_none(table, wanted):
    assert queries.position_by_id(table, wanted) is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [("BANK", [1, 3]), ("bank (", [1]), ("river bank", [3]), ("heron", [2]), ("nothing", []), (".*", [])],
)
def test_words_are_sought_in_text_and_title_in_any_order(table, words, expected):
    table = table.assign(
        text=["a river", "a Bank (12)", "x", "bank of a River", None], title=["", "", "Heron", None, "z"]
    )
    assert queries.holding(table, words).to_numpy().nonzero()[0].tolist() == expected


def test_words_narrow_every_pill(table):
    table = table.assign(text=["a river", "river", "river", "x", "y"])
    assert queries.positions_in_list(table, queries.WRONG, words="river") == [1]
    assert queries.positions_in_list(table, queries.ALL, ("9", "9"), "river") == [2]


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (["noun.animal", "noun.act"], ["animal", "act"]),
        (["noun.a", "verb.b"], ["noun.a", "verb.b"]),
        (["cat", "car"], ["cat", "car"]),
        (["4", "9"], ["4", "9"]),
        (["a.", "a.b"], ["a.", "a.b"]),
        (["noun.animal"], ["noun.animal"]),
        ([], []),
    ],
)
def test_short_names_leave_out_what_all_begin_with(classes, expected):
    assert queries.short_names(classes) == expected


def test_beside_steps_within_the_list():
    assert queries.beside([5, 3, 8], 3, 1) == 8
    assert queries.beside([5, 3, 8], 8, 1) is None
    assert queries.beside([5, 3, 8], 7, -1) == 5
    assert queries.beside([], 7, 1) is None


def test_large_ids_are_told_apart():
    table = pd.DataFrame({"id": [2**62, 2**62 + 1]})
    assert queries.position_by_id(table, str(2**62 + 1)) == 1
