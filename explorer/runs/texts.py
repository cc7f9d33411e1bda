"""A text cut into pieces that look the same: read or not, by share of a score, shared with another text or not."""

from __future__ import annotations

import dataclasses
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np

SHORTEST_WORD = 4
"""Words of fewer characters are never marked as shared: in most languages the little words are short."""
COMMON_SHARE = 0.02
"""Words that more than this part of the texts hold are not marked either."""
SAMPLE_TEXTS = 2000
"""Texts, evenly spread over the table, in which common words are counted."""
FEWEST_TEXTS = 200
"""In fewer texts than this nothing can be said about how common a word is."""
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
"""Characters that are words of their own, with no blanks between them."""
MARK = "\N{WHITE VERTICAL RECTANGLE}"
"""Shown for a token without characters, such as the end of a text."""


@dataclasses.dataclass(frozen=True)
class Span:
    """Characters `start` to `end` of a text, and the share of a score that stems from them."""

    start: int
    end: int
    share: float


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of a text that looks the same throughout."""

    text: str
    share: float | None = None
    shared: bool = False
    unread: bool = False


def words(text: str) -> frozenset[str]:
    """The words of a text that are long enough to be marked as shared, in one form of writing."""
    return frozenset(word for _, _, word in _words(text))


def common(texts: Sequence[str]) -> frozenset[str]:
    """Words that so many of the texts hold that sharing them says nothing: a rule that knows no language."""
    if len(texts) < FEWEST_TEXTS:
        return frozenset()
    sample = texts[:: -(-len(texts) // SAMPLE_TEXTS)]
    counts = Counter(word for text in sample for word in words(text))
    return frozenset(word for word, count in counts.items() if count > COMMON_SHARE * len(sample))


def _words(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and folded form of each word: letters, digits and the marks upon them, of any script."""
    start = None
    for at, letter in enumerate(f"{text} "):
        inside = letter.isalnum() or unicodedata.category(letter)[0] == "M"
        if inside and start is None:
            start = at
        elif not inside and start is not None:
            if at - start >= SHORTEST_WORD:
                yield start, at, unicodedata.normalize("NFC", text[start:at]).casefold()
            start = None


def whole_words(text: str) -> list[tuple[int, int]]:
    """Start and end of each word that can be struck: of letters, digits, `_` and the marks upon them, or one of Han."""
    found: list[tuple[int, int]] = []
    for at, sign in enumerate(text):
        inside = bool(found) and found[-1][1] == at
        mark = unicodedata.category(sign)[0] == "M"
        if inside and (mark or (_letter(sign) and not _HAN.match(sign) and not _HAN.match(text[at - 1]))):
            found[-1] = found[-1][0], at + 1
        elif _letter(sign):
            found.append((at, at + 1))
    return found


def _letter(sign: str) -> bool:
    return sign.isalnum() or sign == "_"


def checked(starts: np.ndarray, ends: np.ndarray, length: int) -> None:
    """Raises ValueError if tokens from `starts` to `ends` cannot be those of a text of `length` characters."""
    if len(starts) != len(ends):
        raise ValueError(f"{len(starts)} tokens begin and {len(ends)} end")
    if len(starts) and (starts.min() < 0 or ends.max() > length or (ends < starts).any()):
        raise ValueError(f"a token lies outside its text of {length} characters")


def spans(starts: np.ndarray, ends: np.ndarray, shares: np.ndarray) -> list[Span]:
    """Tokens as spans in the order of the text.

    Tokens that overlap, such as the bytes of one character, become one span that carries the sum of their shares:
    whatever is shown adds up to the score.
    """
    found: list[Span] = []
    for place in np.lexsort((ends, starts)).tolist():
        start, end, share = int(starts[place]), int(ends[place]), float(shares[place])
        if found and start < found[-1].end:
            last = found.pop()
            start, end, share = last.start, max(last.end, end), last.share + share
        found.append(Span(start, end, share))
    return found


def pieces(text: str, tokens: Sequence[Span] = (), read: int | None = None, mark: Collection[str] = ()) -> list[Piece]:
    """The text in pieces that, put together and without any `MARK`, are the text.

    Args:
        text: in code points; it is cut here, since a browser counts in other units.
        tokens: what to shade, in order and without overlap; one that covers no characters becomes a `MARK`.
        read: where the last token ends that the model read; None if that is not known.
        mark: folded words that are marked as shared.
    """
    shared = [(start, end) for start, end, word in _words(text) if word in mark]
    unread = len(text) if read is None or not text[read:].strip() else read
    cuts = {0, len(text), unread, *_ends(shared), *_ends((token.start, token.end) for token in tokens)}
    empty: dict[int, float] = {}
    for blank in tokens:
        if blank.start == blank.end:
            empty[blank.start] = empty.get(blank.start, 0.0) + blank.share
    full = iter([token for token in tokens if token.end > token.start])
    token = next(full, None)
    order = sorted(cuts)
    found = [Piece(MARK, empty[0])] if 0 in empty else []
    for start, end in itertools.pairwise(order):
        while token is not None and token.end <= start:
            token = next(full, None)
        share = token.share if token is not None and token.start <= start else None
        inside = any(first <= start < last for first, last in shared)
        found.append(Piece(text[start:end], share, inside, start >= unread))
        if end in empty:
            found.append(Piece(MARK, empty[end]))
    return found


def _ends(places: Iterable[tuple[int, int]]) -> Iterator[int]:
    return (place for pair in places for place in pair)
