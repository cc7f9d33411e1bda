"""`Pieces`: computes the pieces of a run that are not there yet, by this process or by the workers of an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from influence.engine.pieces import Engine, Job, Piece
from influence.precompute.pieces.work import Part, Result, Work
from influence.progress import Bar
from influence.run.draft import Draft

Step = Callable[..., AbstractContextManager[Bar]]


class Pieces:
    """Computes pieces, each once; the journal says of each that it is there as soon as it is.

    Args:
        draft: that they are of.
        work: of this process.
        say: told what went wrong and is done again.
        engine: whose workers compute; None: this process does, one after the other.
        job: what the workers make their models from.
    """

    def __init__(
        self,
        draft: Draft,
        work: Work,
        say: Callable[[str], None],
        engine: Engine | None = None,
        job: Job | None = None,
    ):
        self.draft, self.work, self.say, self.engine, self.job = draft, work, say, engine, job

    def compute(self, parts: Sequence[Part], bar: Bar) -> None:
        """Compute those that are not in the journal.

        Raises:
            EngineError: see `Engine.each`.
        """
        self.work.folder = self.draft.folder
        left = {part.step: part for part in parts if part.step not in self.draft.steps}
        bar.advance(sum(part.size for part in parts) - sum(part.size for part in left.values()))
        if not left:
            return
        if self.engine is None or self.job is None or len(parts) == 1:
            self.work.advance = bar.advance
            for part in left.values():
                self._mark(part, self.work.compute(part))
            return
        pieces = (Piece(part.step, part.step, (str(self.draft.folder.absolute()), part)) for part in left.values())
        for done in self.engine.each(self.job, pieces, self.say):
            if done.error:
                raise done.error
            self._mark(left[done.piece.key], done.result)
            bar.advance(left[done.piece.key].size)

    def _mark(self, part: Part, result: Result) -> None:
        for objective in self.work.objectives:
            objective.remarks.add(result.remarks[objective.stage.name])
        for name in result.files:
            self.draft.wrote(name)
        self.draft.mark(part.step, result.record)
