"""Leave out each query's own strongest 1 %: how much its loss rises, less what a random 1 % does to it.

All stages are trained again for every query. The same is asked of simpler scores, for the same queries.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from influence.run.lists.ranking import top
from influence.run.nearness.baselines import OWN, Baseline, baselines
from influence.training.retraining import Start
from influence.validation.bench import Bench
from influence.validation.check import Check, Finding
from influence.validation.checks.removal import random_examples
from influence.validation.statistics import mean_interval

SHARE = 0.01
"""Share of the examples that is left out."""
QUERIES, RANDOM_SETS = 20, 3
"""Queries whose lists are judged, and random sets that each is compared with."""
TRAINED = {"solution": "on from the solution", "scratch": "again from scratch"}
AT_ONCE = 4
"""Queries that are judged by one score before the next score has its turn."""


def measure(bench: Bench) -> pd.DataFrame:
    parts = []
    for start in bench.starts:
        with bench.within(bench.time_for(start, 0.7)):
            parts.append(_measured(bench, start))
    return pd.concat(parts, ignore_index=True)


def findings(table: pd.DataFrame) -> list[Finding]:
    found = []
    for (start, scores), part in table.groupby(["start", "scores"], sort=False):
        each = (part["measured"] - part["random"]).to_numpy(np.float64)
        mean, low, high = mean_interval(each)
        words = (
            f"Without the {part['left_out'].iloc[0]} examples (1 %) that help it most by {_called(str(scores))}, a "
            f"query's loss rises by {mean:.2g} nats more than without a random 1 %; mean of {len(each)} queries, all "
            f"stages trained {TRAINED[str(start)]} for each."
        )
        found.append(Finding(f"rise, {scores}", mean, low, high, len(each), words, str(start)))
    return found


def _called(scores: str) -> str:
    return "the run's own scores" if scores == OWN else scores


def _measured(bench: Bench, start: Start) -> pd.DataFrame:
    """A row a query and score; none without a random set to compare with."""
    number = max(1, round(SHARE * bench.count))
    queries = bench.generator("strongest").permutation(len(bench.scores))[:QUERIES].tolist()
    compared: dict[str, Baseline] = {OWN: lambda query: bench.scores[query]}
    compared |= {name: made() for name, made in baselines(bench.run, bench.stage).items()}
    random, rows = _random(bench, start, number, range(1)), []
    # A few queries by every score, then a few more: a check that is cut short can compare.
    for first in range(0, len(queries), AT_ONCE) if random else ():
        for name, scores in compared.items():
            rows += _rows(bench, start, name, scores, number, queries[first : first + AT_ONCE])
        if not first:
            random += _random(bench, start, number, range(1, RANDOM_SETS))
    table = pd.DataFrame(rows)
    if not rows:
        return table
    # The mean of as many sets as there was time for: the more, the less it hangs on one of them.
    table["random"] = np.mean(random, axis=0)[table["query"]].astype(np.float32)
    return table.astype({"query": np.int32, "left_out": np.int32})


def _random(bench: Bench, start: Start, number: int, seeds: range) -> list[np.ndarray]:
    """(Q,) changes without random sets, which `removal` leaves out, too."""
    found = [bench.change_without(random_examples(bench, seed, number), start) for seed in seeds]
    return [change for change in found if change is not None]


def _rows(
    bench: Bench, start: Start, name: str, scores: Baseline, number: int, queries: list[int]
) -> list[dict[str, object]]:
    rows = []
    for query in queries:
        out = np.sort(top(scores(query), number))
        change = bench.change_without(out.tolist(), start) if len(out) else None
        if change is not None:
            rows.append(
                {
                    "stage": bench.stage,
                    "start": start,
                    "scores": name,
                    "query": query,
                    "left_out": len(out),
                    "predicted": np.float32(bench.scores[query, out].sum(dtype=np.float64)),
                    "measured": np.float32(change[query]),
                }
            )
    return rows


CHECK = Check(
    "strongest", "Does a prediction get worse without what its own list says helps it most?", 0.2, 5, measure, findings
)
