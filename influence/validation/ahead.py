"""Retrainings on the workers of an engine: those that are asked for, and those that a check is going to ask for.

Checks ask for one retraining after the other. None depends on what another one gave, so that all of them are known
from a rehearsal on a `PlannedBench`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pandas as pd
from torch import Tensor

from influence.engine.pieces import Done, Engine, Piece
from influence.errors import TrainingError, UpstreamError
from influence.progress import Progress
from influence.training.fingerprint import fingerprint_of
from influence.training.retraining import Start
from influence.validation.bench import Bench
from influence.validation.check import Check
from influence.validation.pieces import hashed
from influence.validation.plan import PlannedBench
from influence.validation.retraining import Retraining, RetrainingJob


class UpcomingBench(PlannedBench):
    """A bench on which a check shows what it will ask for, within the time that is left.

    Attributes:
        retrainings: hash of the piece -> the retraining, of those that are neither cached nor failed.
    """

    def __init__(self, bench: Bench):
        super().__init__(bench, set())
        self._until = bench.left
        self.retrainings: dict[str, Retraining] = {}

    def outcome(self, weights: Tensor | None, start: Start, seed: int | None = None) -> pd.DataFrame | None:
        before = self.counts.total()
        found = super().outcome(weights, start, seed)
        if self.counts.total() > before:
            asked = Retraining(self.stage, weights, start, seed)
            self.retrainings[hashed(self.key_of(start, asked.key))] = asked
        return found


@contextlib.contextmanager
def workers_of(
    bench: Bench, engine: Engine | None, function: str | None, device: str, bars: Progress
) -> Iterator[None]:
    """Workers for a bench within this context, which begin to read the study; none if there is no engine.

    Raises:
        EngineError: they cannot be had.
    """
    if engine is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        with bars.step("Reaching the cluster"):
            bench.engine = stack.enter_context(engine)
        where, device = str(bench.run.path.absolute()), engine.device or device
        retrainer = bench.retrainer
        fingerprint = fingerprint_of(retrainer.objectives, retrainer.study.queries, retrainer.starts)
        bench.job = RetrainingJob(where, function, device, engine.threads, fingerprint)
        bench.engine.begin(bench.job)  # while this process has other things to do
        bars.say(f"Workers: {engine.workers}, threads of each: {engine.threads}.")
        yield


def retrained(bench: Bench, asked: Sequence[Retraining], bars: Progress) -> list[pd.DataFrame]:
    """The tables of retrainings, whatever they take; those without edits are kept by the bench.

    Raises:
        EngineError: see `Engine.each`.
        TrainingError: of a retraining.
    """
    found = [None if each.edits else bench.pieces.get(bench.key_of(each.start, each.key)) for each in asked]
    with bars.step(
        "Training again, as it was and with the edits", total=sum(table is None for table in found)
    ) as bench.bar:
        if bench.engine and bench.job:
            pieces = [each.piece(str(i)) for i, each in enumerate(asked) if found[i] is None]
            for done in bench.engine.each(bench.job, pieces, bars.say):
                if done.error:
                    raise _told(done.error)
                i = int(done.piece.key)
                found[i] = done.result
                if not asked[i].edits:
                    _keep(bench, asked[i], done)
                bench.bar.advance()
        return [_here(bench, each) if table is None else table for each, table in zip(asked, found, strict=True)]


def _here(bench: Bench, asked: Retraining) -> pd.DataFrame:
    """The table of a retraining by this process."""
    if not asked.edits:
        found = bench.outcome(asked.weights, asked.start, asked.seed)
        assert found is not None  # there is no limit of time
        return found
    table = asked.by(bench.retrainer)
    if bench.bar:
        bench.bar.advance()
    return table


def measured(bench: Bench, check: Check, bars: Progress) -> pd.DataFrame:
    """A check's table; where the bench has an engine, its workers train again first, as long as time is left.

    Raises:
        EngineError: see `Engine.each`.
        TrainingError: of the check.
    """
    while bench.engine and (upcoming := _upcoming(bench, check)):
        if not _shared_out(bench, bench.engine, upcoming, bars):
            break
    return check.measure(bench)


def _shared_out(bench: Bench, engine: Engine, upcoming: dict[str, Retraining], bars: Progress) -> int:
    """How many of the retrainings were computed, and are in the bench's cache or failed; not all if time ended."""
    assert bench.job is not None
    count = 0
    many = f"{len(upcoming)} retrainings" if len(upcoming) > 1 else "a retraining"
    with bars.step(f"{many} on {engine.workers} workers", total=len(upcoming)) as bar:
        for done in engine.each(bench.job, _in_time(bench, upcoming), bars.say):
            asked, count = upcoming[done.piece.key], count + 1
            if done.error:
                bench.failed[done.piece.key] = _told(done.error)
            else:
                _keep(bench, asked, done)
            bar.advance()
    return count


def _told(error: Exception) -> UpstreamError:
    """The error of a retraining, which takes its batches as they are: memory that is too small for one ends it."""
    if isinstance(error, UpstreamError):
        return error
    return TrainingError(f"A worker's memory is too small ({error}). Let fewer workers share a machine.")


def _keep(bench: Bench, asked: Retraining, done: Done) -> None:
    bench.keep(bench.key_of(asked.start, asked.key), done.result, asked.cost, done.seconds)


def _upcoming(bench: Bench, check: Check) -> dict[str, Retraining]:
    planned = UpcomingBench(bench)
    with contextlib.suppress(TrainingError):  # it is told when the check runs
        check.measure(planned)
    return planned.retrainings


def _in_time(bench: Bench, upcoming: dict[str, Retraining]) -> Iterator[Piece]:
    """Those that can end within the time that is left when a worker asks for one."""
    for key, asked in upcoming.items():
        if bench.costs.get(asked.cost, bench.dearest(asked.start, asked.left_out)) > bench.left:
            return
        yield asked.piece(key)
