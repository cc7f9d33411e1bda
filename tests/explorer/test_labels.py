"""Colours of labels on the map."""

import pandas as pd

from explorer import labels
from explorer.ui import theme


def table(count):
    """Labels "group00", ..., the last the most frequent."""
    return pd.Series([f"group{i:02d}" for i in range(count) for _ in range(i + 1)])


def test_few_labels_have_a_colour_each():
    found = labels.coloured(table(10))
    assert list(found) == [f"group{i:02d}" for i in range(10)]
    assert len(set(found.values())) == 10


def test_of_many_the_biggest_have_colours_and_none_that_looks_like_the_rest():
    found = labels.coloured(table(45))
    assert list(found) == [f"group{i:02d}" for i in range(36, 45)]
    assert len(set(found.values())) == 9
    assert not set(found.values()) & set(theme.GREYS)


def test_the_chosen_label_has_a_colour_in_any_case():
    found = labels.coloured(table(45), "group03")
    assert "group03" in found
    assert len(found) == 9
    assert labels.coloured(table(45), "nobody") == labels.coloured(table(45))


def test_no_label_is_no_colour():
    assert list(labels.coloured(pd.Series(["a", "", "  ", "b"]))) == ["a", "b"]
    assert labels.coloured(pd.Series(["", ""])) == {}
