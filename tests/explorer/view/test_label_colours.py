"""Colours of labels on the map."""

import pandas as pd

from explorer.ui import theme
from explorer.view import label_colours


def table(count):
    """Labels "group00", ..., the last the most frequent."""
    return pd.Series([f"group{i:02d}" for i in range(count) for _ in range(i + 1)])


def test_few_labels_have_a_colour_each():
    found = label_colours.coloured(table(10))
    assert list(found) == [f"group{i:02d}" for i in range(10)]
    assert len(set(found.values())) == 10


def test_of_many_the_biggest_have_colours_and_none_that_looks_like_the_rest():
    found = label_colours.coloured(table(45))
    assert list(found) == [f"group{i:02d}" for i in range(36, 45)]
    assert len(set(found.values())) == 9
    assert not set(found.values()) & set(theme.GREYS)


def test_the_chosen_label_has_a_colour_in_any_case():
    found = label_colours.coloured(table(45), "group03")
    assert "group03" in found
    assert len(found) == 9
    assert label_colours.coloured(table(45), "nobody") == label_colours.coloured(table(45))


def test_no_label_is_no_colour():
    assert list(label_colours.coloured(pd.Series(["a", "", "  ", "b"]))) == ["a", "b"]
    assert label_colours.coloured(pd.Series(["", ""])) == {}
