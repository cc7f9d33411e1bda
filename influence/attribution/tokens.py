"""Token-level influence: a text's score split over its tokens.

The loss of a text is a sum over its tokens, l_z = sum_t l_zt, and so is its score v . grad l_z / m. The share of token
t is v . grad l_zt / m: the predicted change of the query's loss if the model had not been trained to predict this one
token. One forward-mode pass gives the shares of all tokens of a batch for one query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import jacrev, jvp

from influence.attribution.chain import Chain
from influence.attribution.guards import derivatives_named, solver_of, usable
from influence.attribution.products.dots import dots
from influence.derivatives import Objective
from influence.derivatives.objective import plain_kernels
from influence.errors import LossError, MethodError
from influence.study.stage import Loss, TokenLosses
from influence.study.study import Study


def token_shares(
    objective: Objective, token_losses: TokenLosses, vector: Tensor, examples: Sequence[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """(example, float32 (L,)) for some of a stage's examples: their scores for one query, split over tokens, in nats.

    Args:
        objective: the stage's.
        token_losses: the loss of every token, (B, L), before the sum. Shorter texts end with zeros.
        vector: (T,), the query pulled back to this stage and solved there.
        examples: positions in the stage's data.
    """
    data = torch.utils.data.Subset(objective.stage.data, list(examples))
    here = {name: objective.parameters[name] for name in objective.trained.shapes}
    tangent = {n: t.to(objective.dtype) for n, t in objective.trained.unflatten(vector.to(objective.device)).items()}
    for positions, batch in objective.batches(data):
        with plain_kernels(), torch.no_grad():

            def parts(p: dict[str, Tensor], batch: Any = batch) -> Tensor:
                return token_losses(objective.outputs(batch, p), batch)

            changes = jvp(parts, (here,), (tangent,))[1]
        for row, change in zip(range(positions.start, positions.stop), changes / objective.count, strict=True):
            yield examples[row], change.float().cpu().numpy()


def refuse_other_sums(objective: Objective, token_losses: TokenLosses) -> None:
    """Raise LossError if the tokens' losses of the first batch do not add up to its losses."""
    positions, batch = next(objective.batches(objective.stage.data))
    with plain_kernels(), torch.no_grad():
        losses = objective.losses(batch, positions.stop)
        parts = token_losses(objective.outputs(batch), batch)
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


def refuse_other_measure(parts: Tensor, measured: Tensor) -> Tensor:
    """What each query's token losses (B, L) are multiplied with, (B, 1), so that they add up to its measure (B,).

    1; or, where one is the mean over the tokens and the other the sum, the number of tokens (or one over it).

    Raises:
        LossError: they are not the parts of the measure.
    """
    if parts.dim() != 2 or len(parts) != len(measured):
        raise LossError(f"token_losses gave shape {tuple(parts.shape)}, expected ({len(measured)}, tokens).")
    sums = parts.double().sum(1)
    ratio = torch.where(sums == measured, 1.0, measured.double() / sums)
    whole = torch.where(ratio >= 1, ratio.round(), 1 / (1 / ratio).round())
    tolerance = torch.finfo(measured.dtype).eps ** 0.5
    if not torch.allclose(ratio, whole, rtol=tolerance, atol=0) or not (ratio.round() <= parts.shape[1]).all():
        worst = int((ratio - whole).abs().nan_to_num(torch.inf).argmax())
        raise LossError(
            f"The tokens' losses of a query add up to {float(sums[worst]):.6g} where the measure is "
            f"{float(measured[worst]):.6g}; so none of them has a part of it. token_losses of the last stage must be "
            "the measure before it is added up (or averaged) over tokens."
        )
    return whole[:, None].to(parts)


def query_token_losses(objective: Objective, token_losses: TokenLosses, data: Any, measure: Loss) -> Iterator[Tensor]:
    """(L,) for each of `data`, in its order: every token's part of the measure, nats; 0 at the end of shorter texts.

    Args:
        objective: the last stage's.
        token_losses: of that stage.
        data: queries.
        measure: the study's.

    Raises:
        LossError: the token losses are not the parts of the measure.
    """
    for _, batch in objective.batches(data):
        with plain_kernels(), torch.no_grad():
            outputs = objective.outputs(batch)
            parts = token_losses(outputs, batch)
            yield from parts * refuse_other_measure(parts, measure(outputs, batch))


def token_influence(
    study: Study,
    pairs: Mapping[int, Sequence[int]],
    token_losses: TokenLosses,
    *,
    of: str = "example",
    stage: str | None = None,
    method: str = "cg",
    damping: float | None = None,
    curvature: str = "ggn",
    device: torch.device | str = "cpu",
    **options: Any,
) -> dict[int, dict[int, np.ndarray]]:
    """Scores of pairs of a query and a training example, split over the tokens of one of the two.

    Args:
        study: what was trained on what.
        pairs: query -> training examples of the stage, by position.
        token_losses: the loss of every token, (B, L), before the sum: of the example's stage or, with `of="query"`, of
            the last stage.
        of: whose tokens: "example", or "query" (if the query's loss is a sum over tokens too).
        stage: name of the stage whose training examples are scored; default the first (pretraining).
        method: see `attribute`.
        damping: added to the curvature.
        curvature: "ggn" or "hessian".
        device: where to compute.
        options: of the method.

    Returns:
        query -> example -> shares in nats, float32 (L,), L the length of the padded batch; padding has 0. They sum to
        the score exactly, since influence is linear in the example's loss and in the query's.

    Raises:
        LossError: the tokens' losses do not add up to the loss.
        StudyError, MethodError, CurvatureError: as `attribute`.
    """
    if of not in ("example", "query"):
        raise MethodError(f"of is {of!r}, expected 'example' or 'query'.")
    solver = solver_of(method, damping, curvature, options)
    with derivatives_named(study):
        chain = Chain(study, study.position(stage), solver, device=usable(device))
        refuse_other_sums(chain.objectives[0] if of == "example" else chain.last, token_losses)
        split = _of_example if of == "example" else _of_query
        return {query: dict(split(chain, token_losses, query, examples)) for query, examples in pairs.items()}


def _of_example(
    chain: Chain, token_losses: TokenLosses, query: int, examples: Sequence[int]
) -> Iterator[tuple[int, np.ndarray]]:
    one = torch.utils.data.Subset(chain.study.queries, [query])
    objective, solved = chain.pull_to_first(chain.query_gradients(one))
    return token_shares(objective, token_losses, solved[0], examples)


def _of_query(
    chain: Chain, token_losses: TokenLosses, query: int, examples: Sequence[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Each token of the query is a query of its own."""
    _, batch = next(chain.last.batches(torch.utils.data.Subset(chain.study.queries, [query])))
    with plain_kernels():
        slopes = jacrev(lambda p: token_losses(chain.last.outputs(batch, p), batch)[0])(chain.last.parameters)
    rows = torch.cat([slopes[name].flatten(1) for name in chain.last.all.shapes], dim=1)
    objective, solved = chain.pull_to_first(rows)
    data = torch.utils.data.Subset(objective.stage.data, list(examples))
    for positions, block in dots(objective, data, objective.trained, solved):
        for row, found in zip(range(positions.start, positions.stop), block / objective.count, strict=True):
            yield examples[row], found.float().cpu().numpy()
