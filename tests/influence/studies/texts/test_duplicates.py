"""Near-duplicates, against sets of words in plain Python."""

from __future__ import annotations

import random

from influence.studies.texts.duplicates import MIN_SIMILARITY, near_duplicates, repeated

TEXTS = [
    "a small dog of some breed",
    "A small DOG, of some breed!",
    "one of the planets",
    "breed some of dog small a",
    "!?",
]


def test_case_order_and_signs_do_not_count():
    assert near_duplicates(TEXTS, ["one of the stars", "a small dog of some breed"]).tolist() == [1, 1, -1, 1, -1]
    assert repeated(TEXTS).tolist() == [False, True, False, True, False]
    assert near_duplicates([], TEXTS).tolist() == []
    assert near_duplicates(TEXTS, []).tolist() == [-1] * 5


def test_as_by_plain_sets():
    draw = random.Random(0)
    texts = [" ".join(draw.choices("abcdefg", k=draw.randint(3, 6))) for _ in range(600)]
    mine, others = texts[:300], texts[300:]
    for text, found in zip(mine, near_duplicates(mine, others), strict=True):
        best = max(shared(text, other) for other in others)
        assert (found >= 0) == (best >= MIN_SIMILARITY)
        assert found < 0 or shared(text, others[found]) == best
    for place, found in enumerate(repeated(texts)):
        assert found == any(shared(texts[place], before) >= MIN_SIMILARITY for before in texts[:place])


def shared(one: str, other: str) -> float:
    a, b = set(one.split()), set(other.split())
    return len(a & b) / len(a | b)
