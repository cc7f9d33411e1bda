"""Retrainings and runs shared out: one process, and workers of a Ray cluster on this machine; and many, simulated.

    python benchmarks/scale.py                    # some ten minutes of two quiet cores
    python benchmarks/scale.py --smoke            # a simulated cluster alone, to see that it runs
    python benchmarks/scale.py --strongest 20000 --queries 1000     # all scores beside the strongest
    python benchmarks/scale.py --runs --keep strongest:1000 --examples 60000 --queries 1000
    python benchmarks/scale.py --strongest 1000000 --queries 1000 --alone --threads 2    # 40 minutes

The simulation runs the engine's own code on a clock that jumps: only Ray is replaced. What a piece, a worker's start
and a piece's way through the driver take is what was measured, or in the smallest setting assumed.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scaled.extrapolated import extrapolated
from scaled.runs import shared_out
from scaled.strongest import strongest

from influence.engine import Fingerprint, OnRay, Piece
from influence.precompute.runs import precompute
from influence.progress import Progress
from influence.studies.request import exhibits_for
from influence.validation.ahead import retrained, workers_of
from influence.validation.bench import Bench, bench_of
from influence.validation.retraining import Retraining

WORKERS = (1, 10, 100, 1000)
PIECES = 10_000
FAILURES = 0.001
"""Share of pieces in which a worker dies."""


@dataclass(frozen=True)
class Costs:
    """Seconds of a piece, of a worker's start, and of what the driver does with one piece."""

    piece: float = 0.3
    start: float = 10.0
    driver: float = 0.005


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retrainings", type=int, default=60, help="each without a random fifth of the digits")
    parser.add_argument("--examples", type=int, default=30_000, help="of a run")
    parser.add_argument("--queries", type=int, default=300, help="of a run")
    parser.add_argument("--pieces", type=int, default=PIECES, help="of the simulation")
    parser.add_argument("--smoke", action="store_true", help="the simulation of few pieces alone")
    parser.add_argument("--strongest", type=int, nargs="+", help="examples of runs that keep the strongest, alone")
    parser.add_argument("--runs", action="store_true", help="a run shared out, alone")
    parser.add_argument("--keep", help="scores that a run keeps: all if it is shared out, else strongest:1000")
    parser.add_argument("--alone", action="store_true", help="no run of all scores beside them")
    parser.add_argument("--threads", type=int, default=1, help="of these runs")
    asked = parser.parse_args()
    console, costs = Console(width=130), Costs()
    if asked.strongest:
        keep = asked.keep or "strongest:1000"
        forms = [keep] if asked.alone else ["all", keep]
        strongest(asked.strongest, asked.queries, forms, asked.threads, console)
        return
    if not asked.smoke:
        torch.set_num_threads(1)
        shared_out(asked.examples, asked.queries, asked.keep or "all", console)
        if asked.runs:
            return
        costs = measured(asked.retrainings, console)
    else:
        strongest([300], 12, ["all", "strongest:10"], 1, console, apart=False)
    for longer in (1, 100):  # of larger studies
        simulated(100 if asked.smoke else asked.pieces, replace(costs, piece=longer * costs.piece), console)
    extrapolated(costs.driver, console)


def measured(count: int, console: Console) -> Costs:
    """Print what one process and workers took, for the same retrainings in the same order."""
    table = Table("computed by", "retrainings a second", "times one process", "equal", "study read after")
    with tempfile.TemporaryDirectory() as folder:
        made = exhibits_for("digits", None, None, None, {}, {})
        names = [f"digits-{exhibit.variant}" for exhibit in made]
        run = precompute(made, names, Path(folder), progress=True)[0]
        bench = bench_of(run, run.stages[0])
        asked = [Retraining(bench.stage, weights, "solution") for weights in _weights(bench, count)]
        seconds, first = _timed(bench, asked)
        costs = Costs(seconds / count)
        table.add_row("this process", f"{count / seconds:.2f}", "1.00", "", "")
        for workers in (1, 2):
            bench = bench_of(run, run.stages[0])
            bench.pieces.get = lambda key: None  # type: ignore[method-assign]  # all are computed again
            with Progress() as bars, workers_of(bench, OnRay(workers=workers), None, "cpu", bars):
                began = time.perf_counter()
                retrained(bench, asked[:1] * workers, bars)  # all workers stand
                start = time.perf_counter() - began
                again, found = _timed(bench, asked, bars)
            same = all(a.equals(b) for a, b in zip(first, found, strict=True))
            rate, times = f"{count / again:.2f}", f"{seconds / again:.2f}"
            table.add_row(f"{workers} workers" if workers > 1 else "1 worker", rate, times, str(same), f"{start:.0f} s")
            if workers == 1:
                costs = Costs(seconds / count, start, _kept(bench, asked, found) / count)
    console.print(table)
    return costs


def _kept(bench: Bench, asked: list[Retraining], found: list) -> float:
    """Seconds in which the driver keeps what it was given."""
    began = time.perf_counter()
    for each, table in zip(asked, found, strict=True):
        bench.keep(bench.key_of(each.start, each.key), table, each.cost, 1.0)
    return time.perf_counter() - began


def _weights(bench: Bench, count: int) -> Iterator[torch.Tensor]:
    for i in range(count):
        left_out = bench.generator("scale", i).permutation(bench.count)[: bench.count // 5]
        yield bench.retrainer.weights_without(bench.stage, left_out.tolist())


def _timed(bench: Bench, asked: list[Retraining], bars: Progress | None = None) -> tuple[float, list]:
    with contextlib.ExitStack() as stack:
        shown = bars or stack.enter_context(Progress())
        began = time.perf_counter()
        found = retrained(bench, asked, shown)
        return time.perf_counter() - began, found


def simulated(pieces: int, costs: Costs, console: Console) -> None:
    """Print how well workers are used, beside the pieces of one worker that never fails."""
    table = Table(
        "workers", "seconds", "times one worker", "efficiency", "died",
        title=f"simulated: {pieces:,} pieces of {costs.piece:.2f} s, start {costs.start:.0f} s, driver "
        f"{1000 * costs.driver:.1f} ms a piece, {FAILURES:.1%} of pieces end their worker",
    )  # fmt: skip
    for workers in WORKERS:
        cluster = Simulated(workers, costs)
        done = list(cluster.each(JOB, (Piece(str(i), f"piece {i}", i) for i in range(pieces)), lambda _: None))
        assert len({each.piece.key for each in done}) == len(done) == pieces
        alone = pieces * costs.piece
        times = alone / cluster.clock
        row = f"{cluster.clock:,.0f}", f"{times:,.1f}", f"{times / workers:.0%}", f"{cluster.died:,}"
        table.add_row(f"{workers:,}", *row)
    console.print(table)


class DeathError(Exception):
    """A simulated worker ended."""


JOB = SimpleNamespace(fingerprint=Fingerprint("", ()), processor="")


class Simulated(OnRay):
    """The engine on workers that only take time.

    Attributes:
        clock: seconds since the beginning.
        died: workers that ended.
    """

    def __init__(self, workers: int, costs: Costs):
        super().__init__(workers=workers)
        self.costs, self.clock, self.died = costs, 0.0, 0
        self._ends: list[tuple[float, int]] = []
        self._results: dict[int, object] = {}
        self._random = np.random.default_rng(0)
        self._ray = SimpleNamespace(
            put=lambda job: job, remote=lambda _: self, wait=self._wait, get=self._get, kill=lambda _: None,
            exceptions=SimpleNamespace(RayError=DeathError, RayTaskError=()),
        )  # fmt: skip

    def options(self, **_: object) -> Simulated:
        return self

    def remote(self) -> SimpleNamespace:
        begin = SimpleNamespace(remote=lambda job, _: self._call(self.costs.start, job))
        return SimpleNamespace(begin=begin, compute=SimpleNamespace(remote=self._computed))

    def _computed(self, of: object) -> int:
        fails = self._random.random() < FAILURES
        # Pieces are never equally long.
        seconds = self.costs.piece * self._random.gamma(16) / 16
        return self._call(seconds * self._random.random() if fails else seconds, None if fails else (of, None, seconds))

    def _call(self, seconds: float, result: object) -> int:
        number = len(self._results)
        self._results[number] = result
        heapq.heappush(self._ends, (self.clock + seconds, number))
        return number

    def _wait(self, _: list[int], **__: object) -> tuple[list[int], list[int]]:
        end, number = heapq.heappop(self._ends)
        self.clock = max(self.clock, end) + self.costs.driver
        return [number], []

    def _get(self, number: int) -> object:
        result = self._results[number]
        if result is None:
            self.died += 1
            raise DeathError("simulated")
        return result


if __name__ == "__main__":
    main()
