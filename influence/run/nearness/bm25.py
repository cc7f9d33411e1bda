"""BM25: how well texts answer a query by the words that they share (Robertson & Zaragoza 2009, section 3.4)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import sparse

SATURATION, LENGTH = 1.2, 0.75
"""k1: how soon a word's repetitions count no more. b: how much a text's length counts."""
_WORD = re.compile(r"\w+")


class Bm25:
    """An index of texts.

    Args:
        texts: n of them. Case and signs do not count.
    """

    def __init__(self, texts: Sequence[str]):
        self._places: dict[str, int] = {}
        rows, columns, counts = [], [], []
        for row, text in enumerate(texts):
            for word, count in Counter(words(text)).items():
                rows.append(row)
                columns.append(self._places.setdefault(word, len(self._places)))
                counts.append(count)
        shape = (len(texts), len(self._places))
        self._weights = _weighted(sparse.csr_matrix((np.array(counts, np.float64), (rows, columns)), shape=shape))

    def scores(self, query: str) -> np.ndarray:
        """(n,), float32, never negative; 0 for texts that share no word with the query."""
        asked = Counter(self._places[word] for word in words(query) if word in self._places)
        vector = np.zeros(self._weights.shape[1])
        vector[list(asked)] = list(asked.values())
        return np.asarray(self._weights @ vector, dtype=np.float32)


def words(text: str) -> list[str]:
    """Runs of letters and digits, in lower case."""
    return _WORD.findall(text.casefold())


def _weighted(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Of each text and word: idf * tf (k1 + 1) / (tf + k1 (1 - b + b length / mean length))."""
    total, _ = counts.shape
    found = np.bincount(counts.indices, minlength=counts.shape[1])
    rarity = np.log1p((total - found + 0.5) / (found + 0.5))
    lengths = np.asarray(counts.sum(1)).ravel()
    long = SATURATION * (1 - LENGTH + LENGTH * lengths / (lengths.mean() or 1.0)) if total else lengths
    weights = counts.copy()
    weights.data *= (SATURATION + 1) / (counts.data + np.repeat(long, np.diff(counts.indptr)))
    weights.data *= rarity[counts.indices]
    return weights
