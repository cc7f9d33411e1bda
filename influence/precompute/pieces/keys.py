"""A score and its example as one whole number, in the order of the lists: larger scores first, then lower rows.

No two keys are equal, so that the strongest of parts of the examples are the strongest of all, ties included.
"""

from __future__ import annotations

import numpy as np

_LOW = 2**32 - 1
_MAGNITUDE = 2**31 - 1


def keys_of(scores: np.ndarray, start: int) -> np.ndarray:
    """Of float32 scores (Q, n) of the examples from row `start` on, int64 (Q, n)."""
    bits = scores.view(np.int32).astype(np.int64)
    ordered = np.where(bits >= 0, bits, -(bits & _MAGNITUDE))
    return (ordered << 32) + (_LOW - np.arange(start, start + scores.shape[1], dtype=np.int64))


def strongest(keys: np.ndarray, count: int) -> np.ndarray:
    """The `count` largest of each row, the largest first; all where there are no more."""
    if keys.shape[1] > count:
        keys = np.partition(keys, keys.shape[1] - count, axis=1)[:, -count:]
    return np.sort(keys, axis=1)[:, ::-1]


def rows_of(keys: np.ndarray) -> np.ndarray:
    """The examples' rows."""
    return _LOW - (keys & _LOW)


def scores_of_keys(keys: np.ndarray) -> np.ndarray:
    """The scores, float32."""
    ordered = keys >> 32
    return np.where(ordered >= 0, ordered, -ordered | 2**31).astype(np.uint32).view(np.float32)
