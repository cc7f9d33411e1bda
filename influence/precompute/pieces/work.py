"""`Work`: what one process computes pieces of a run from; `Part`, what such a piece is; `Span`, one of examples."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from influence.attribution.products.score import Scoring
from influence.curvature import Method
from influence.curvature.gathering import Eigenvalues
from influence.curvature.linear_algebra.ekfac_blocks import blocks_of
from influence.derivatives import Objective
from influence.derivatives.batches import spans, spread
from influence.derivatives.first.watch import Watch
from influence.derivatives.remarks import Remarks
from influence.precompute.pieces.query_vectors import QueryVectors
from influence.run.writer import Writer
from influence.study.study import Study


@dataclass(frozen=True)
class Result:
    """What a process says of a piece that it computed. Its files are in the draft.

    Attributes:
        files: relative names of those that it wrote.
        record: of the journal, JSON.
        remarks: stage -> what computing remarked on.
    """

    files: Set[str]
    record: Any
    remarks: dict[str, Remarks]


@dataclass(frozen=True)
class Part(ABC):
    """A piece of a run: small, picklable, equal if it is the same.

    Attributes:
        method: that the run is solved by.
        start, stop: of the examples of a stage, or of the queries.
    """

    method: str
    start: int
    stop: int

    @property
    @abstractmethod
    def step(self) -> str:
        """Its name in the journal."""

    @abstractmethod
    def by(self, work: Work) -> Any:
        """Compute it, writing by the work's `writer`; the journal's record."""

    @property
    def size(self) -> int:
        """Of its progress, in examples or queries."""
        return self.stop - self.start

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Span(Part):
    """A piece of a pass over a stage's data."""

    stage: str

    kind: ClassVar[str]
    """Of the piece, in its step's name."""

    @property
    def step(self) -> str:
        return f"{self.kind} {self.stage} {self.method} {self.start}"

    @classmethod
    def each(cls, objective: Objective, method: str, *more: Any, width: int = 1) -> list[Self]:
        """The pieces of a stage, in order.

        Args:
            objective: the stage's.
            method: of the run.
            more: further fields, equal for all.
            width: see `spans`.
        """
        parts = spans(objective.count, objective.all.size, width=width)
        return [cls(method, part.start, part.stop, objective.stage.name, *more) for part in parts]


class Work:
    """The objectives and solvers of one process, with which it computes pieces.

    Args:
        study: of the run.
        objectives: of its stages, at their trained parameters.
        solver: objective, method -> its solver.
        folder: of the draft.
        error: that a query's scores may have for speed.

    Attributes:
        writer: of the piece that is computed; names what it wrote.
        advance: told how much of a piece is done.
    """

    def __init__(
        self,
        study: Study,
        objectives: Sequence[Objective],
        solver: Callable[[Objective, str], Method],
        folder: Path,
        error: float,
    ):
        self.study, self.objectives, self.solver, self.folder, self.error = study, objectives, solver, folder, error
        self.writer = Writer(folder)
        self.advance: Callable[[float], None] = lambda amount: None
        # One at a time: they hold what is long.
        self._held: tuple[Any, Any] = None, None
        self._watches: dict[str, Watch] = {}

    def compute(self, part: Part) -> Result:
        """A piece, and what was remarked on."""
        self.writer = Writer(self.folder)
        record = part.by(self)
        told = {objective.stage.name: copy.deepcopy(objective.remarks) for objective in self.objectives}
        return Result(self.writer.written, record, told)

    def objective(self, stage: str) -> Objective:
        """The one of a stage."""
        return next(objective for objective in self.objectives if objective.stage.name == stage)

    def vectors(self, stage: str, method: str) -> QueryVectors:
        """The queries that are solved at a stage."""
        folder = self.folder / f"work/queries-{method}/{stage}"
        return QueryVectors(folder, self.objective(stage), len(self.study.queries))

    def scoring(self, stage: str, method: str) -> Scoring:
        """What scores a stage's examples for the queries."""
        return self._of(
            ("scoring", self.folder, stage, method),
            lambda: Scoring(self.objective(stage), self.vectors(stage, method).mapped(), self.error),
        )

    def eigenvalues(self, stage: str, axes: str, draws: int, seed: int) -> Eigenvalues:
        """The second pass of EK-FAC over a stage, whose axes are in file `axes` of the draft."""
        objective = self.objective(stage)
        return self._of(
            ("eigenvalues", self.folder, axes),
            lambda: Eigenvalues(objective, blocks_of(Writer(self.folder).tensors(axes), objective), draws, seed),
        )

    def watch(self, stage: str) -> Watch:
        """Of a stage's gradients; where there are several spans it has learned what there is to learn of the calls."""
        if stage not in self._watches:
            objective = self.objective(stage)
            watch = self._watches[stage] = Watch(objective, objective.trained)
            if len(spans(objective.count, objective.all.size)) > 1:
                positions, batch = next(objective.batches(spread(objective.stage.data, objective.batch_size)))
                watch.factors(batch, positions.stop - positions.start)
        return self._watches[stage]

    def _of(self, key: Any, make: Callable[[], Any]) -> Any:
        if self._held[0] != key:
            self._held = None, None
            self._held = key, make()
        return self._held[1]
