"""Texts cut into pieces."""

import itertools

import numpy as np
import pytest

from explorer.runs import texts
from explorer.runs.texts import MARK, Piece, Span
from influence.studies.texts.strike import struck


def spans(text, shares):
    """Words of `text` as tokens with these shares."""
    at, found = 0, []
    for word, share in zip(text.split(), shares, strict=True):
        start = text.index(word, at)
        at = start + len(word)
        found.append(Span(start, at, share))
    return found


def test_pieces_put_together_are_the_text():
    text = "a bank of the river, and 👩‍👧 more"
    cut = texts.pieces(text, spans(text, range(8)), 20, {"river", "bank"})
    assert "".join(piece.text for piece in cut) == text
    assert [piece.text for piece in cut if piece.shared] == ["bank", "river"]
    assert [piece.text for piece in cut if piece.unread] == [" ", "and", " ", "👩‍👧", " ", "more"]


def test_every_share_is_shown_once():
    text = "one two three"
    assert [(p.text, p.share) for p in texts.pieces(text, spans(text, [1, -2, 3]))] == [
        ("one", 1), (" ", None), ("two", -2), (" ", None), ("three", 3),
    ]  # fmt: skip


def test_a_word_of_two_tokens_is_marked_in_both():
    cut = texts.pieces("rivers", [Span(0, 5, 1.0), Span(5, 6, 2.0)], mark={"rivers"})
    assert cut == [Piece("river", 1.0, shared=True), Piece("s", 2.0, shared=True)]


def test_offsets_count_code_points():
    assert [piece.text for piece in texts.pieces("👍🏽 ok", [Span(0, 2, 1.0), Span(3, 5, 2.0)])] == ["👍🏽", " ", "ok"]


def test_tokens_without_characters_are_shown_and_add_up():
    cut = texts.pieces("ab", [Span(0, 0, 1.0), Span(0, 2, 2.0), Span(2, 2, 3.0), Span(2, 2, 4.0)])
    assert cut == [Piece(MARK, 1.0), Piece("ab", 2.0), Piece(MARK, 7.0)]
    assert texts.pieces("", [Span(0, 0, 1.0)]) == [Piece(MARK, 1.0)]
    assert texts.pieces("") == []


def test_overlapping_tokens_become_one_with_the_sum():
    starts, ends = np.array([4, 0, 0, 1]), np.array([5, 2, 2, 3])
    found = texts.spans(starts, ends, np.array([8.0, 1.0, 2.0, 4.0]))
    assert found == [Span(0, 3, 7.0), Span(4, 5, 8.0)]


def test_text_after_the_last_token_is_unread_unless_it_is_space():
    assert texts.pieces("abc  ", read=3) == [Piece("abc  ")]
    assert texts.pieces("abc d", read=3) == [Piece("abc"), Piece(" d", unread=True)]
    assert texts.pieces("abc", read=0) == [Piece("abc", unread=True)]


@pytest.mark.parametrize(("starts", "ends"), [([0], [1, 2]), ([-1], [2]), ([0], [6]), ([3], [2])])
def test_tokens_outside_the_text_are_refused(starts, ends):
    with pytest.raises(ValueError, match="token"):
        texts.checked(np.array(starts), np.array(ends), 5)


def test_words_are_long_enough_and_in_one_form():
    assert texts.words("The RIVER, (river) and its Straße-banks 2026 a_bcde") == {
        "river", "strasse", "banks", "2026", "bcde",
    }  # fmt: skip
    assert texts.words("cafe\N{COMBINING ACUTE ACCENT}s") == texts.words("cafés")
    assert texts.words("नदियाँ") == {"नदियाँ"}


def test_common_words_are_those_of_many_texts():
    many = [f"this is about topic{i}" for i in range(300)] + ["rare"] * 3
    assert texts.common(many) == {"this", "about"}
    assert texts.common(many[:100]) == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "a cat's Art, art_x 12",
        "e\u0301tude \u6f22\u5b57 kana \u304b\u306a",
        "\u6f22\u0301a b",
        "Stra\u00dfe \u05e9\u05dc\u05d5\u05dd \u0130x",
        "<b>bold</b>\ttwo\nlines",
    ],
)
def test_every_whole_word_is_one_that_the_backend_strikes(text):
    found = texts.whole_words(text)
    assert found
    assert all(struck(f"{text} more", [text[start:end]]) for start, end in found)
    left = "".join(text[b:c] for (_, b), (c, _) in itertools.pairwise([(0, 0), *found, (len(text), 0)]))
    assert not any(letter.isalnum() for letter in left)
