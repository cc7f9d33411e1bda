"""Retrainings that a check will ask for, computed before it runs by the workers of an engine.

Checks ask for one retraining after the other. None depends on what another one gave, so that all of them are known
from a rehearsal on a `PlannedBench`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pandas as pd
from torch import Tensor

from influence.engine.pieces import Engine, Piece
from influence.errors import TrainingError
from influence.progress import Progress
from influence.training.retraining import Start
from influence.validation.bench import Bench
from influence.validation.check import Check
from influence.validation.pieces import hashed
from influence.validation.plan import PlannedBench
from influence.validation.retraining import Retraining, RetrainingJob, fingerprint_of


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


def job_of(bench: Bench, function: str | None, device: str, threads: int) -> RetrainingJob:
    """What workers need to train the bench's study again; see `RetrainingJob`."""
    return RetrainingJob(str(bench.run.path.absolute()), function, device, threads, fingerprint_of(bench.retrainer))


def measured(bench: Bench, check: Check, bars: Progress) -> pd.DataFrame:
    """A check's table; where the bench has an engine, its workers train again first, as long as time is left.

    Raises:
        EngineError: see `Engine.each`.
        TrainingError: of the check.
    """
    while bench.engine and (upcoming := _upcoming(bench, check)):
        if not _retrained(bench, bench.engine, upcoming, bars):
            break
    return check.measure(bench)


def _retrained(bench: Bench, engine: Engine, upcoming: dict[str, Retraining], bars: Progress) -> int:
    """How many of the retrainings were computed, and are in the bench's cache or failed; not all if time ended."""
    assert bench.job is not None
    count = 0
    many = f"{len(upcoming)} retrainings" if len(upcoming) > 1 else "a retraining"
    with bars.step(f"{many} on {engine.workers} workers", total=len(upcoming)) as bar:
        for done in engine.each(bench.job, _in_time(bench, upcoming), bars.say):
            asked, count = upcoming[done.piece.key], count + 1
            if done.error:
                bench.failed[done.piece.key] = done.error
            else:
                bench.keep(bench.key_of(asked.start, asked.key), done.result, asked.cost, done.seconds)
            bar.advance()
    return count


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
