"""`Bench`: what a check works with. The run, its study, cached retrainings, and the time that is left."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from influence.attribution.scores import attribute
from influence.engine.pieces import Engine, Job
from influence.errors import RunError, UpstreamError
from influence.progress import Bar
from influence.run.files import retrainings_folder
from influence.run.measured.replayed import by_steps
from influence.run.reading import Run
from influence.run.records import StageRecord
from influence.studies.exhibit import Exhibit
from influence.study.study import Study
from influence.training.retraining import Retrainer, Start
from influence.validation.pieces import Pieces, hashed
from influence.validation.retraining import Retraining, retrainer_of

MOST_SCORES = 2**28
"""Scores that are computed again for checks, of a run that keeps the strongest: 1 GB."""
QUERIES_AT_ONCE = 64
"""Queries whose scores are read at a time."""


class Bench:
    """A run under test: its study, its retrainings, and a time budget.

    Each expensive result (one retraining, say) is a *piece*: a small table, cached in a hidden folder beside the run.
    Its file name is a hash of all its inputs. A cached piece is read; others are computed if the time left suffices.

    Args:
        run: the finished run.
        exhibit: its study, with trained models.
        retrainer: trains the study again.
        stage: name of the stage whose examples are left out.
        seed: of all random choices.

    Attributes:
        costs: cost class of pieces -> mean seconds of those computed so far; at first, what earlier calls measured.
        reserved: seconds of the time that is left in which a check has enough to say something.
        computed: number of pieces that were computed, not read.
        warnings: what other scores than the run's own were warned of, each once.
        engine: whose workers train again ahead of a check, see `influence.validation.ahead`; None: this process does.
        job: what the workers need to make the study, given with an engine.
        failed: hash of a piece -> why it could not be computed, here or by a worker.
    """

    def __init__(self, run: Run, exhibit: Exhibit, retrainer: Retrainer, stage: str, seed: int = 0):
        self.run, self.exhibit, self.retrainer, self.stage, self.seed = run, exhibit, retrainer, stage, seed
        self.pieces = Pieces(retrainings_folder(run.path))
        known = self.pieces.get(self.key_of("costs", {}))
        self.costs: dict[str, float] = {} if known is None else dict(zip(known["cost"], known["seconds"], strict=True))
        self._taken: dict[str, list[float]] = {}
        self.computed = 0
        self.reserved = 0.0
        self.warnings: list[str] = []
        self.bar: Bar | None = None
        self.engine: Engine | None = None
        self.job: Job | None = None
        self.failed: dict[str, UpstreamError] = {}
        self._until = float("inf")
        self._more = float("inf")

    @property
    def workers(self) -> int:
        """How many retrainings are computed at a time."""
        return self.engine.workers if self.engine else 1

    @property
    def study(self) -> Study:
        return self.exhibit.study

    @cached_property
    def scores(self) -> np.ndarray:
        """(Q, m), the run's scores of the stage by the default method, in nats."""
        return self.scores_by(self.exhibit.method)

    def scores_by(self, method: str) -> np.ndarray:
        """(Q, m), the run's scores of the stage by one of its methods; computed again where it keeps the strongest.

        Raises:
            RunError: the run has none, or they would be computed again, and are more than `MOST_SCORES`.
        """
        if self.run.kept(self.stage, method) is None:
            stored = self.run.scores(self.stage, method)
            return np.concatenate([stored[i : i + QUERIES_AT_ONCE] for i in range(0, stored.shape[0], QUERIES_AT_ONCE)])
        if len(self.study.queries) * self.count > MOST_SCORES:
            raise RunError(
                f"Run {self.run.name} keeps the strongest scores. Checks need all, and {self.count:,} examples for "
                f"{len(self.study.queries):,} queries are more than the {MOST_SCORES:,} that are computed again for "
                "them. Check a run of fewer queries, or of a sample of the examples."
            )
        own = method == self.exhibit.method
        return self.scores_of(self.study, method=method, damping=self.exhibit.damping if own else None)

    @property
    def count(self) -> int:
        return len(self.study.stages[self.study.position(self.stage)].data)

    @cached_property
    def truth(self) -> np.ndarray | None:
        """(Q,), class number of every query's label; None if the last stage is no classifier."""
        if not self.run.classes:
            return None
        return self.run.queries()["label"].map({name: i for i, name in enumerate(self.run.classes)}).to_numpy()

    def generator(self, *what: int | str) -> np.random.Generator:
        """A random generator for one purpose; its draws do not depend on other draws."""
        digest = hashlib.sha256(json.dumps([self.seed, *what]).encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "little"))

    # Time

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Limit the time within this context: pieces that would end later are not begun."""
        before, self._until = self._until, min(self._until, self.now() + seconds)
        try:
            yield
        finally:
            self._until = before

    @contextlib.contextmanager
    def only(self, pieces: int) -> Iterator[None]:
        """Compute so many pieces within this context, and read any number."""
        self._more = self.computed + pieces
        try:
            yield
        finally:
            self._more = float("inf")

    @property
    def left(self) -> float:
        """Seconds until the limit."""
        return self._until - self.now()

    def now(self) -> float:
        """Seconds on the clock that limits are set by."""
        return time.monotonic()

    def time_for(self, start: Start, share: float) -> float:
        """Seconds for one way of training: a `share` of the time left, or all of it if the other way would not fit.

        The first way has at least what is reserved.
        """
        last, own = self.starts[-1], max(self.left * share, self.reserved)
        other = 2 * self.costs.get(last, self.expected(last))  # the baseline and one retraining
        return self.left if start == last or other > self.left - own else own

    def piece(
        self,
        kind: str,
        of: Mapping[str, Any],
        compute: Callable[[], pd.DataFrame],
        expected: float = 0.0,
        cost: str = "",
    ) -> pd.DataFrame | None:
        """A piece, from the cache or from `compute`; None if it is not cached and there is no time for it.

        Args:
            kind: of piece, part of the cache key.
            of: everything else that it depends on, besides the run's models, as JSON.
            compute: gives the table.
            expected: seconds that the first piece of its cost class is expected to take.
            cost: cost class, default `kind`: the time of a piece is predicted by the mean of its class.
        """
        key = self.key_of(kind, of)
        found = self.pieces.get(key)
        if found is not None:
            return found
        if hashed(key) in self.failed:
            raise self.failed[hashed(key)]
        cost = cost or kind
        if self.costs.get(cost, expected) > self.left or self.computed >= self._more:
            return None
        began = self.now()
        try:
            table = compute()
        except UpstreamError as error:  # it would fail again, and take as long
            self.failed[hashed(key)] = error
            raise
        self.keep(key, table, cost, self.now() - began)
        return table

    def keep(self, key: list[Any], table: pd.DataFrame, cost: str, seconds: float) -> None:
        """Put a piece into the cache, and count what it took."""
        self._taken.setdefault(cost, []).append(seconds)
        self.costs[cost] = sum(self._taken[cost]) / len(self._taken[cost])
        self.computed += 1
        self.pieces.put(key, table)
        self.pieces.put(self.key_of("costs", {}), pd.DataFrame(self.costs.items(), columns=["cost", "seconds"]))

    def key_of(self, kind: str, of: Mapping[str, Any]) -> list[Any]:
        """What a piece depends on, as JSON."""
        models = {n: d for n, d in self.run.manifest.files.items() if n.startswith(("stages/", "scores/"))}
        return [models, self.stage, {"kind": kind, **of}]

    # Retrainings

    def outcome(self, weights: Tensor | None, start: Start, seed: int | None = None) -> pd.DataFrame | None:
        """Columns `loss` (nats) and `predicted` (class number or -1) of every query after training again.

        Args:
            weights: (m,), of the stage's examples; None: all 1.
            start: as of `Retrainer.retrain`.
            seed: as of `Retrainer.retrain`.

        Returns:
            A row for each query, in their order; None if there is no time for the retraining.
        """
        asked = Retraining(self.stage, weights, start, seed)
        expected = self.dearest(start, asked.left_out)
        found = self.piece(start, asked.key, lambda: asked.by(self.retrainer), expected, asked.cost)
        if self.bar and found is not None:
            self.bar.advance()
        return found

    def expected_scores(self) -> float:
        """Expected seconds of solving and scoring: as long as the run's own took."""
        timings = self.run.manifest.timings
        return sum(float(seconds) for step, seconds in timings.items() if not step.startswith(("training", "map")))

    def dearest(self, start: Start, share: float = 1.0) -> float:
        """Seconds of a retraining that leaves out a share (0..1) of the examples: as those took that left out more.

        If none did, as the dearest; before the first one, as expected.
        """
        kinds = sorted((float(cost.partition("%")[0]), cost) for cost in self.costs if cost.endswith(f"% {start}"))
        taken = [self.costs[cost] for _, cost in kinds]
        more = [self.costs[cost] for percent, cost in kinds if percent >= 100 * share]
        return more[0] if more else max(taken, default=self.costs.get(start, self.expected(start)))

    def expected(self, start: Start) -> float:
        """Expected seconds of a retraining before one was measured: as long as the run's own training took.

        From the solution, stages that are trained to a minimum take less, nobody knows how much: 0.
        """
        trained = self.run.manifest.stages if start == "scratch" else self.unsettled
        return sum(stage.training.seconds or 0.0 for stage in trained)

    @property
    def unsettled(self) -> list[StageRecord]:
        """The stages whose training took its recipe's steps, and ended at no minimum."""
        stages = self.run.manifest.stages
        return [s for s in stages if by_steps(self.run, s.name) and s.training.converged is False]

    def change_without(self, examples: Sequence[int], start: Start, seed: int | None = None) -> np.ndarray | None:
        """(Q,), measured change of every query's loss with `examples` left out, in nats; None if there is no time."""
        base = self.outcome(None, start, seed)
        if base is None:
            return None
        found = self.outcome(self.retrainer.weights_without(self.stage, examples), start, seed)
        return None if found is None else (found["loss"] - base["loss"]).to_numpy()

    @property
    def starts(self) -> list[Start]:
        """The ways in which this run can be trained again, the one that its scores are judged by first.

        At a minimum that is on from the solution, which takes less. After mini-batches training on would move in any
        case, so that only training from scratch tells what an example did.
        """
        if not self.retrainer.starts:
            return ["solution"]
        return ["scratch", "solution"] if self.unsettled else ["solution", "scratch"]

    @property
    def anew(self) -> Start:
        """From scratch, or on from the solution where nobody knows how training began."""
        return "scratch" if self.retrainer.starts else "solution"

    def scores_of(self, study: Study, **options: Any) -> np.ndarray:
        """Scores (Q, m) of the stage's examples in another study, with the run's solver except for `options`."""
        solving = {
            "method": self.exhibit.method,
            "damping": self.exhibit.damping,
            "curvature": self.exhibit.curvature,
            "error": self.exhibit.error,
        }
        found = attribute(study, stage=self.stage, progress=False, **{**solving, **options})
        known = {*self.run.manifest.warnings, *self.warnings}
        self.warnings += [warning for warning in found.report["warnings"] if warning not in known]
        return found.values  # noqa: PD011


def bench_of(
    run: Run, stage: str, *, seed: int = 0, function: str | None = None, device: torch.device | str = "cpu"
) -> Bench:
    """A run on the bench, with what trains its stages again as they were trained; its study is built once.

    Args:
        run: a finished run.
        stage: whose examples are left out.
        seed: of everything that is drawn.
        function: FILE.py:FUNCTION, of a run that was computed from one.
        device: where to train.

    Raises:
        RunError: parts of the run are still to be computed.
        RunError, StudyError: the run's study cannot be made again, see `influence.studies.from_run.exhibit_of`.
    """
    if run.pending:
        raise RunError(
            f"Run {run.name} is not complete: {', '.join(run.pending)} is still to be computed. Wait for it, or give "
            "the command that computes it again."
        )
    exhibit, retrainer = retrainer_of(run, function, device)
    return Bench(run, exhibit, retrainer, stage, seed)
