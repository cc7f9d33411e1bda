"""Self-influence of a span of a stage's examples: the score of each for its own loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from influence.curvature import Method
from influence.derivatives import Objective
from influence.derivatives.first.factors import Factors
from influence.derivatives.first.gradients import formed
from influence.derivatives.first.watch import Watch
from influence.derivatives.objective import BUDGET
from influence.precompute.pieces.work import Span, Work

MAX_SOLVES = 50
"""Largest stage whose self-influence an iterative method computes: it takes a solve for every example."""


@dataclass(frozen=True)
class SpanSelfInfluence(Span):
    """Gradient norm and self-influence of a span.

    Attributes:
        whole: whether with self-influence, see `self_influence_of`.
    """

    whole: bool

    kind = "self-influence"

    @property
    def table(self) -> str:
        return f"{folder_of(self.stage)}/{self.start}"

    def by(self, work: Work) -> None:
        objective, watch = work.objective(self.stage), work.watch(self.stage)
        solver = work.solver(objective, self.method) if self.whole else None
        watch = watch.from_batch(self.start // objective.batch_size + watch.batches)
        work.writer.write_table(self.table, self_influence(objective, solver, work.advance, self.rows, watch))


def self_influence(
    objective: Objective,
    solver: Method | None,
    advance: Callable[[float], None],
    span: slice | None = None,
    watch: Watch | None = None,
) -> pd.DataFrame:
    """Columns `self_influence`, nats, and `gradient_norm`, nats per unit of parameter, of a span's examples.

    Args:
        objective: the stage's.
        solver: of it; None: only the norms.
        advance: told how many are done.
        span: the examples; default all.
        watch: of the stage's gradients, that knows the calls; default a new one.
    """
    span, watch = span or slice(0, objective.count), watch or Watch(objective, objective.trained)
    found: dict[str, list[Tensor]] = {"self_influence": [], "gradient_norm": []}
    for positions, batch in objective.batches(objective.stage.data, span.start, span.stop):
        count = positions.stop - positions.start
        factors = watch.factors(batch, count)
        if solver is None:
            found["gradient_norm"].append(_norms(objective, factors, count))
        else:
            own, norms = solver.norms_of(factors, count)
            found["self_influence"].append(own / objective.count)
            found["gradient_norm"].append(norms)
        advance(count)
    return pd.DataFrame({name: torch.cat(parts).float().cpu().numpy() for name, parts in found.items() if parts})


def self_influence_of(objective: Objective, solver: Method) -> list[SpanSelfInfluence]:
    """The pieces of a stage's self-influence, in order; a note says it if only gradient norms are computed.

    Self-influence is the predicted change of an example's own loss if it had been left out, in nats. It takes a solve
    for each example, so an iterative method does it for small stages only.
    """
    # Methods that iterate say how often they did; for the others a solve is a product or two.
    stage, method = objective.stage.name, solver.card.name
    whole = "iterations" not in solver.report or objective.count <= MAX_SOLVES
    if not whole:
        objective.remarks.notes.add(
            f"Stage {stage!r}: no self-influence, which by method {method!r} would take {objective.count:,} solves "
            f"(at most {MAX_SOLVES:,} are made)."
        )
    return SpanSelfInfluence.each(objective, method, whole)


def together(pieces: Sequence[SpanSelfInfluence], folder: Path) -> pd.DataFrame:
    """The columns `self_influence`, if it was computed, and `gradient_norm`, for all examples of a stage."""
    tables = [pd.read_parquet(folder / f"{piece.table}.parquet") for piece in pieces]
    return pd.concat(tables, ignore_index=True)


def _norms(objective: Objective, factors: Factors, count: int) -> Tensor:
    """Norms of a batch's gradients, (n,), some examples at a time."""
    rows = max(1, BUDGET // (objective.sum_dtype.itemsize * objective.trained.size))
    parts = [slice(start, min(start + rows, count)) for start in range(0, count, rows)]
    return torch.cat([formed(objective, objective.trained, factors, part).norm(dim=1) for part in parts])


def folder_of(stage: str) -> str:
    """Where the tables of spans are kept till they are put together."""
    return f"work/self-{stage}"
