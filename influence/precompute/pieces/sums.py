"""What a span of a stage's examples adds to EK-FAC's eigenvalues; and the whole of it, from these pieces."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from influence.curvature.cards import EKFAC
from influence.curvature.ekfac import MAX_EXACT_STAGE
from influence.curvature.gathering import Eigenvalues, axes_of
from influence.curvature.linear_algebra.ekfac_blocks import blocks_of, state_of
from influence.derivatives import Objective
from influence.derivatives.batches import spans
from influence.derivatives.second.fisher import Fisher
from influence.precompute.pieces.sharing import Pieces, Step
from influence.precompute.pieces.work import Span, Work

DRAWS, SEED = 1, 0
"""Of a run's `EKFAC`: its defaults."""


@dataclass(frozen=True)
class SpanSums(Span):
    """The sums of a span, along the axes in the draft's `axes_file`."""

    kind = "sums"

    @property
    def file(self) -> str:
        return f"{folder_of(self.stage, self.method)}/{self.start}.safetensors"

    def by(self, work: Work) -> None:
        eigenvalues = work.eigenvalues(self.stage, axes_file(self.stage, self.method), DRAWS, SEED)
        work.writer.write_tensors(self.file, eigenvalues.sums(self.rows))
        work.advance(self.size)


def folder_of(stage: str, method: str) -> str:
    """Where the sums are kept till they are added."""
    return f"work/sums-{stage}-{method}"


def axes_file(stage: str, method: str) -> str:
    """The file of the axes, kept as long."""
    return f"{folder_of(stage, method)}/axes.safetensors"


def gathered(pieces: Pieces, objective: Objective, method: str, step: Step) -> dict[str, Tensor]:
    """The state of a run's EK-FAC at a stage of several spans; empty of another method or stage, which fits at once.

    Args:
        pieces: computes them.
        objective: the stage's.
        method: of the run.
        step: shows a bar.
    """
    several = len(spans(objective.count, objective.all.size)) > 1
    if method != EKFAC.name or objective.trained.size <= MAX_EXACT_STAGE or not several:
        return {}
    draft, stage = pieces.draft, objective.stage.name
    file, found = axes_file(stage, method), f"axes {stage} {method}"
    if found not in draft.steps:
        draft.write_tensors(file, state_of(axes_of(objective, DRAWS, SEED, Fisher(objective, SEED))))
        draft.mark(found)
    eigenvalues = Eigenvalues(objective, blocks_of(draft.tensors(file), objective), DRAWS, SEED)
    parts = [SpanSums(method, span.start, span.stop, stage) for span in eigenvalues.spans]
    with step(f"eigenvalues of {stage}", total=objective.count) as bar:
        pieces.compute(parts, bar)
    for part in parts:
        eigenvalues.add(draft.tensors(part.file))
    return state_of(eigenvalues.end())


def discard(pieces: Pieces, stage: str, method: str) -> None:
    """Delete what `gathered` kept, whose result is kept."""
    begun = (f"axes {stage} {method}", f"sums {stage} {method} ")
    steps = [name for name in pieces.draft.steps if name.startswith(begun)]
    pieces.draft.drop(steps, folder_of(stage, method))
