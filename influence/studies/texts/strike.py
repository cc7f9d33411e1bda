"""A text without some of its words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator

from influence.errors import StudyError

HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
"""Characters that are words of their own, with no blanks between them."""
SHOWN = 60
"""Characters of a text that an error shows."""


def struck(text: str, words: Collection[str]) -> str:
    """The text without the words, wherever they stand; the blanks before a word go with it.

    A word is a whole one, in any case: "art" stands in "Art is long", not in "party". A phrase's blanks fit any blanks.

    Raises:
        StudyError: a word is empty or stands nowhere, or nothing but space would be left.
    """
    gone = set[int]()
    for word in words:
        places = [place for span in _spans(text, word.strip()) for place in range(*span)]
        if not places:
            raise StudyError(f"The word {word!r} stands nowhere in the text {_shown(text)}.")
        gone.update(places)
    left, place = "", 0
    while place < len(text):
        if place not in gone:
            left, place = left + text[place], place + 1
            continue
        while place < len(text) and (place in gone or (text[place].isspace() and not left)):
            place += 1
        left = left.rstrip()
        left += " " if left and place < len(text) and _joined(left[-1], text[place]) else ""
    if not left.strip():
        raise StudyError(
            f"Nothing is left of the text {_shown(text)} without {', '.join(map(repr, words))}. Leave the example out."
        )
    return left


def _spans(text: str, word: str) -> Iterator[tuple[int, int]]:
    """(start, end) of every place where the word stands."""
    pattern = re.compile(r"\s+".join(map(re.escape, word.split())) or r"(?!)", re.IGNORECASE)
    place = 0
    while found := pattern.search(text, place):
        start, end = found.span()
        within = start and _joined(text[start - 1], text[start])
        if within or (end < len(text) and _joined(text[end - 1], text[end])):
            place = start + 1
        else:
            yield start, end
            place = end


def _joined(one: str, other: str) -> bool:
    """Whether two neighbouring characters are of one word."""
    if _mark(other):
        return True
    return all((sign.isalnum() or sign == "_" or _mark(sign)) and not HAN.match(sign) for sign in (one, other))


def _mark(sign: str) -> bool:
    """An accent, or a vowel's sign."""
    return unicodedata.category(sign).startswith("M")


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
