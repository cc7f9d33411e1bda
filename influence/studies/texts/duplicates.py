"""Near duplicates: texts of one set that another set holds in nearly the same words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from tokenizers import Tokenizer

from influence.studies.texts.tokenizing import fit_tokenizer

MIN_SIMILARITY = 0.8
"""Smallest Jaccard index of two texts' sets of words that makes them near duplicates."""
TEXTS_AT_ONCE = 256


def near_duplicates(texts: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """For each of `texts`, the position in `others` of its nearest duplicate, or -1 if it has none: (n,).

    Case, order and repetition of words do not count; signs do not either, unless a text has nothing else.
    """
    if not len(texts) or not len(others):
        return np.full(len(texts), -1)
    tokenizer = fit_tokenizer([*texts, *others], vocabulary=2**31 - 1)
    mine, theirs = _sets(tokenizer, texts), _sets(tokenizer, others)
    blocks = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        common = _in_common(mine[start : start + TEXTS_AT_ONCE], theirs)
        best = common.argmax(1)
        blocks.append(np.where(common[np.arange(len(best)), best] >= MIN_SIMILARITY, best, -1))
    return np.concatenate(blocks)


def repeated(texts: Sequence[str]) -> np.ndarray:
    """Whether each text is a near duplicate of an earlier one: bool (n,)."""
    sets = _sets(fit_tokenizer(texts, vocabulary=2**31 - 1), texts)
    blocks: list[np.ndarray] = [np.zeros(0, bool)]
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        stop = min(start + TEXTS_AT_ONCE, len(texts))
        alike = _in_common(sets[start:stop], sets[:stop]) >= MIN_SIMILARITY
        earlier = np.arange(stop) < np.arange(start, stop)[:, None]
        blocks.append(np.any(alike & earlier, axis=1))
    return np.concatenate(blocks)


def _in_common(mine: sparse.csr_matrix, theirs: sparse.csr_matrix) -> np.ndarray:
    """Jaccard's index of every pair of sets."""
    common = (mine @ theirs.T).toarray()
    return common / (np.asarray(mine.sum(1)) + np.asarray(theirs.sum(1)).ravel() - common)


def _sets(tokenizer: Tokenizer, texts: Sequence[str]) -> sparse.csr_matrix:
    """One row for each text, with 1 in the column of each of its words."""
    rows, columns = [], []
    for row, found in enumerate(tokenizer.encode_batch(list(texts), add_special_tokens=False)):
        words = {number for number, token in zip(found.ids, found.tokens, strict=True) if token.isalnum()}
        chosen = words or set(found.ids)
        rows += [row] * len(chosen)
        columns += list(chosen)
    shape = (len(texts), tokenizer.get_vocab_size())
    return sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
