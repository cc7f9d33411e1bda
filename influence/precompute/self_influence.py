"""Self-influence: the score of each training example for its own loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd
import torch
from torch import Tensor

from influence.curvature import Method
from influence.derivatives import Objective
from influence.derivatives.first.gradients import example_gradients
from influence.derivatives.first.watch import Watch

MAX_SOLVES = 50
"""Largest stage whose self-influence an iterative method computes: it takes a solve for every example."""


def self_influence(objective: Objective, solver: Method, advance: Callable[[float], None]) -> pd.DataFrame:
    """Gradient norm and self-influence of every training example; a note says it if the latter is left out.

    Self-influence is the predicted change of an example's own loss if it had been left out, in nats. It takes a solve
    for each example, so an iterative method does it for small stages only.
    """
    # Methods that iterate say how often they did; for the others a solve is a product or two.
    whole = "iterations" not in solver.report or objective.count <= MAX_SOLVES
    columns = dict(_norms(objective, solver if whole else None, advance))
    if not whole:
        objective.remarks.notes.add(
            f"Stage {objective.stage.name!r}: no self-influence, which by method {solver.card.name!r} would take "
            f"{objective.count:,} solves (at most {MAX_SOLVES:,} are made)."
        )
    return pd.DataFrame({name: values.float().cpu().numpy() for name, values in columns.items()})


def _norms(
    objective: Objective, solver: Method | None, advance: Callable[[float], None]
) -> Iterator[tuple[str, Tensor]]:
    """The columns; without a solver only the gradients' norms."""
    own, norms = [], []
    if solver is None:
        for positions, gradients in example_gradients(objective, objective.stage.data, objective.trained):
            norms.append(gradients.norm(dim=1))
            advance(positions.stop - positions.start)
    else:
        watch = Watch(objective, objective.trained)
        for positions, batch in objective.batches(objective.stage.data):
            count = positions.stop - positions.start
            found, lengths = solver.norms_of(watch.factors(batch, count), count)
            own.append(found / objective.count)
            norms.append(lengths)
            advance(count)
        yield "self_influence", torch.cat(own)
    yield "gradient_norm", torch.cat(norms)
