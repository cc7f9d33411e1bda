"""Words struck from a text, as a reader would strike them."""

from __future__ import annotations

import pytest

from influence.errors import StudyError
from influence.studies.texts.strike import struck


@pytest.mark.parametrize(
    ("text", "words", "left"),
    [
        ("a red fox", ["red"], "a fox"),
        ("Red, red and RED.", ["red"], ", and."),
        ("red fox", ["red"], "fox"),
        ("a party of art", ["art"], "a party of"),
        ("a red  fox runs", ["red fox"], "a runs"),
        ("the red fox", ["fox", "red"], "the"),
        ("a a b", ["a"], "b"),
        ("x red red y", ["red red"], "x y"),
        ("infrared red red end", ["red red"], "infrared end"),
        ("one,two", [","], "one two"),
        ("snake_case case", ["case"], "snake_case"),
        ("C++ (old)", ["c++"], "(old)"),
        ("小猫很小", ["猫"], "小很小"),
        ("cafe\u0301 cafe", ["cafe"], "cafe\u0301"),
        ("की क", ["क"], "की"),
        ("Ärger, ärger", ["ÄRGER"], ","),
        ("  two\nlines here", ["lines"], "  two here"),
        ("don't", ["don"], "'t"),
    ],
)
def test_every_place_of_a_whole_word_goes(text, words, left):
    assert struck(text, words) == left


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ed"], "The word 'ed' stands nowhere in the text 'a red fox'"),
        (["red", "blue"], "The word 'blue' stands nowhere"),
        ([""], "The word '' stands nowhere"),
        ([" "], "The word ' ' stands nowhere"),
        (["a red fox"], "Nothing is left of the text 'a red fox' without 'a red fox'. Leave the example out"),
        (["a", "red", "fox"], "Nothing is left"),
    ],
)
def test_what_cannot_be_struck_is_named(words, message):
    with pytest.raises(StudyError, match=message):
        struck("a red fox", words)
