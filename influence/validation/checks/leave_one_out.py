"""Single examples left out: predicted beside measured, for every query."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd

from influence.run.ranking import top
from influence.validation.bench import Bench
from influence.validation.check import Check, Finding
from influence.validation.statistics import interval, slope

EXAMPLES_LEFT_OUT = 60
"""Examples that are left out, each alone."""
STRONG = {True: "those that lead a list", False: "random ones"}


def measure(bench: Bench) -> pd.DataFrame:
    chosen, rows = list(_chosen(bench)), []
    for start in bench.starts:
        # The first way must leave time for the second.
        with bench.within(bench.time_for(start, 0.6)):
            for example, kind, query in chosen:
                measured = bench.change_without([example], start)
                if measured is None:
                    break
                rows.append(_rows(bench, start, example, kind, query, measured))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def findings(table: pd.DataFrame) -> list[Finding]:
    found = []
    for (start, strong), part in table.groupby(["start", table["kind"] != "random"], sort=False):
        queries = part["query"].nunique()
        predicted, measured = (part[name].to_numpy().reshape(-1, queries) for name in ("predicted", "measured"))

        pooled = partial(_pooled, _moments(predicted, measured))
        value, count = pooled(np.arange(len(predicted))), len(predicted)
        low, high = interval(pooled, count, np.random.default_rng(0))
        size = slope(predicted, measured)
        examples = STRONG[bool(strong)]
        words = (
            f"{count} examples left out one by one ({examples}): predicted and measured changes agree with r = "
            f"{value:.2f}; measured ones are {size:.2f} times as large as predicted."
        )
        found.append(Finding(f"Pearson r, {examples}", value, low, high, count, words, str(start)))
        found.append(Finding(f"slope, {examples}", size, np.nan, np.nan, count, words, str(start)))
    return found


def chosen_examples(bench: Bench) -> list[int]:
    """All examples that the check leaves out, time permitting, in that order."""
    return [example for example, _, _ in _chosen(bench)]


def _chosen(bench: Bench) -> Iterator[tuple[int, str, int]]:
    """(example, kind, query whose list it leads): any first part holds all kinds."""
    seen: set[int] = set()
    generator = bench.generator("leave-one-out")
    queries = iter(generator.permutation(len(bench.scores)))
    others = iter(generator.permutation(bench.count))
    while len(seen) < min(EXAMPLES_LEFT_OUT, bench.count):
        query = next(queries, None)
        picks = []
        if query is not None:
            for kind, helpful in (("helpful", True), ("harmful", False)):
                picks += [(int(example), kind, int(query)) for example in top(bench.scores[query], 1, helpful)]
        picks += [(int(example), "random", -1) for example in [next(others, None)] if example is not None]
        if not picks:
            return
        for example, kind, of in picks:
            if example not in seen and len(seen) < EXAMPLES_LEFT_OUT:
                seen.add(example)
                yield example, kind, of


def _moments(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Means over queries, example by example, (n, 5), from which any choice of examples has its correlation."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    return np.stack([x.mean(1), y.mean(1), (x * x).mean(1), (y * y).mean(1), (x * y).mean(1)], axis=1)


def _pooled(moments: np.ndarray, rows: np.ndarray) -> float:
    """Pearson's r over all (example, query) pairs of some examples; NaN where one side is constant."""
    x, y, xx, yy, xy = moments[rows].mean(0)
    spread = (xx - x * x) * (yy - y * y)
    return float((xy - x * y) / np.sqrt(spread)) if spread > 0 else float("nan")


def _rows(bench: Bench, start: str, example: int, kind: str, query: int, measured: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "stage": bench.stage,
            "start": start,
            "example": np.int32(example),
            "kind": kind,
            "chosen_for": np.int32(query),
            "query": np.arange(len(measured), dtype=np.int32),
            "predicted": bench.scores[:, example].astype(np.float32),
            "measured": measured.astype(np.float32),
        }
    )


CHECK = Check("leave-one-out", "Does leaving one example out change losses as predicted?", 0.3, measure, findings)
