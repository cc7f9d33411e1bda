"""The strongest scores of texts, split over their tokens (token shares)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from influence.attribution.tokens import refuse_other_sums, token_shares
from influence.derivatives import Objective
from influence.precompute.pieces.query_vectors import QueryVectors
from influence.study.stage import TokenLosses

SCORES_SPLIT = 20
"""Examples of either sign whose scores a run splits, for every query."""


def shares_of_strongest(
    objective: Objective,
    token_losses: TokenLosses,
    vectors: QueryVectors,
    scored: Callable[[int], tuple[np.ndarray, np.ndarray]],
    lengths: Sequence[int],
    advance: Callable[[float], None],
) -> pd.DataFrame:
    """The shares of every query's `SCORES_SPLIT` strongest examples of either sign: columns query, example, shares.

    Args:
        objective: the stage's.
        token_losses: its loss, not yet added up.
        vectors: the solved queries.
        scored: query -> rows of examples and their scores, among which its strongest of either sign are.
        lengths: tokens of every example.
        advance: called with 1 for every query.

    Raises:
        LossError: the tokens' losses do not add up to the loss.
    """
    refuse_other_sums(objective, token_losses)
    found: dict[str, list[Any]] = {"query": [], "example": [], "shares": []}
    for query in range(vectors.count):
        rows, scores = scored(query)
        chosen = sorted({int(row) for row in rows[_strongest(scores, SCORES_SPLIT)]})
        for example, shares in token_shares(objective, token_losses, vectors.row(query), chosen) if chosen else ():
            found["query"].append(np.int32(query))
            found["example"].append(np.int32(example))
            found["shares"].append(shares[: lengths[example]])
        advance(1)
    return pd.DataFrame(found)


def _strongest(row: np.ndarray, most: int) -> list[int]:
    """Positions of the `most` highest and lowest scores, in order of position: batches are then of like length."""
    most = min(most, len(row))
    high, low = np.argpartition(-row, most - 1)[:most], np.argpartition(row, most - 1)[:most]
    return sorted({*high[row[high] > 0].tolist(), *low[row[low] < 0].tolist()})
