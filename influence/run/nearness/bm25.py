"""BM25: how well texts answer a query by the words that they share (Robertson & Zaragoza 2009, section 3.4)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

SATURATION, LENGTH = 1.2, 0.75
"""k1: how soon a word's repetitions count no more. b: how much a text's length counts."""
_WORD = re.compile(r"\w+")


class Bm25:
    """An index of texts.

    Args:
        texts: n of them. Case and signs do not count.
    """

    def __init__(self, texts: Sequence[str]):
        self._count, self._places = len(texts), dict[str, int]()
        uses = [
            (self._places.setdefault(word, len(self._places)), row, count)
            for row, text in enumerate(texts)
            for word, count in Counter(words(text)).items()
        ]
        columns, rows, counts = np.array(uses, np.int64).reshape(-1, 3).T
        order = columns.argsort(kind="stable")
        found = np.bincount(columns, minlength=len(self._places))
        self._ends = found.cumsum()
        self._rows, self._weights = rows[order], _weights(columns, rows, counts, found, self._count)[order]

    def scores(self, query: str) -> np.ndarray:
        """(n,), float32, never negative; 0 for texts that share no word with the query."""
        summed = np.zeros(self._count)
        for word, count in Counter(words(query)).items():
            place = self._places.get(word)
            if place is not None:
                uses = slice(self._ends[place - 1] if place else 0, self._ends[place])
                summed[self._rows[uses]] += count * self._weights[uses]
        return summed.astype(np.float32)


def words(text: str) -> list[str]:
    """Runs of letters and digits, in lower case."""
    return _WORD.findall(text.casefold())


def _weights(columns: np.ndarray, rows: np.ndarray, counts: np.ndarray, found: np.ndarray, total: int) -> np.ndarray:
    """Of each word in each text: idf * tf (k1 + 1) / (tf + k1 (1 - b + b length / mean length))."""
    rarity = np.log1p((total - found + 0.5) / (found + 0.5))
    lengths = np.bincount(rows, counts, minlength=total)
    long = SATURATION * (1 - LENGTH + LENGTH * lengths / (lengths.mean() or 1.0)) if total else lengths
    return rarity[columns] * counts * (SATURATION + 1) / (counts + long[rows])
