"""Token-level influence: a text's score split over its tokens.

The loss of a text is a sum over its tokens, l_z = sum_t l_zt, so its score v . grad l_z / m is one too: the share of
token t is v . grad l_zt / m, the predicted change of the query's loss had the model not learned to predict that one
token there. One forward-mode pass gives the shares of all tokens of a batch for one query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import jvp

from influence.derivatives import Objective
from influence.derivatives.objective import plain_kernels
from influence.errors import LossError

MOST = 20
"""Examples of either sign whose scores a run splits, for every query."""

TokenLosses = Callable[[Any, Any], Tensor]
"""(outputs, batch) -> (B, L): each token's share of its text's loss, in nats; they add up to the loss."""


def token_shares(
    objective: Objective, token_losses: TokenLosses, vector: Tensor, examples: Sequence[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """(example, float32 (L,)) for some of a stage's examples: their scores for one query, split over tokens, in nats.

    Args:
        objective: the stage's.
        token_losses: its loss, not yet added up. Rows end with zeros where a text is shorter than its batch.
        vector: (T,), the query pulled back to this stage and solved there.
        examples: positions in the stage's data.

    Raises:
        LossError: the parts of a loss do not add up to it.
    """
    data = torch.utils.data.Subset(objective.stage.data, list(examples))
    here = {name: objective.parameters[name] for name in objective.trained.shapes}
    tangent = {n: t.to(objective.dtype) for n, t in objective.trained.unflatten(vector.to(objective.device)).items()}
    for positions, batch in objective.batches(data):
        with plain_kernels(), torch.no_grad():

            def parts(p: dict[str, Tensor], batch: Any = batch) -> Tensor:
                return token_losses(objective.outputs(batch, p), batch)

            losses, changes = jvp(parts, (here,), (tangent,))[:2]
            _check(objective, losses, objective.losses(batch, positions.stop - positions.start))
        for row, change in zip(range(positions.start, positions.stop), changes / objective.count, strict=True):
            yield examples[row], change.float().cpu().numpy()


def shares_of_strongest(
    objective: Objective,
    token_losses: TokenLosses,
    vectors: Tensor,
    scores: Any,
    lengths: Sequence[int],
    advance: Callable[[float], None],
) -> pd.DataFrame:
    """The shares of every query's `MOST` strongest examples of either sign: columns query, example, shares.

    Args:
        objective: the stage's.
        token_losses: its loss, not yet added up.
        vectors: (Q, T), the solved queries.
        scores: (Q, n), an array whose rows can be read one by one.
        lengths: tokens of every example.
        advance: called with 1 for every query.
    """
    found: dict[str, list[Any]] = {"query": [], "example": [], "shares": []}
    for query in range(len(vectors)):
        chosen = _strongest(np.asarray(scores[query]), MOST)
        for example, shares in token_shares(objective, token_losses, vectors[query], chosen):
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


def _check(objective: Objective, parts: Tensor, losses: Tensor) -> None:
    if parts.dim() != 2 or len(parts) != len(losses):
        raise LossError(
            f"Stage {objective.stage.name!r}: token_losses gave shape {tuple(parts.shape)}, expected "
            f"({len(losses)}, tokens)."
        )
    tolerance = torch.finfo(losses.dtype).eps ** 0.5
    if not torch.allclose(parts.sum(1), losses, rtol=tolerance, atol=tolerance):
        worst = int((parts.sum(1) - losses).abs().argmax())
        raise LossError(
            f"Stage {objective.stage.name!r}: the tokens' losses add up to {float(parts[worst].sum()):.6g} where the "
            f"loss is {float(losses[worst]):.6g}. token_losses must be the loss before it is added up, in the same "
            "unit."
        )
