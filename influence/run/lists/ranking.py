"""Rank the examples of one query by score."""

from __future__ import annotations

import numpy as np


def top(scores: np.ndarray, k: int, helpful: bool = True) -> np.ndarray:
    """Positions of the k most helpful (or most harmful) examples of one row of scores, strongest first.

    Only examples of the asked sign are returned, so there may be fewer than k. Ties go to the lower position.
    """
    if k < 0:
        raise ValueError(f"k is {k}, expected 0 or more.")
    order = np.argsort(-scores if helpful else scores, kind="stable")[:k]
    return order[scores[order] > 0] if helpful else order[scores[order] < 0]
