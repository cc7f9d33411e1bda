"""Leave single examples out: predicted and measured change of every query's loss."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from influence.run.lists.ranking import top
from influence.validation.bench import Bench
from influence.validation.check import Check, Finding
from influence.validation.statistics import interval, slope

EXAMPLES_LEFT_OUT = 60
"""Examples that are left out, each alone."""
STRONG = {True: "those that lead a list", False: "random ones"}


class Choice(NamedTuple):
    """An example to leave out, and why: it leads the helpful or harmful list of a query, or is random (query -1)."""

    example: int
    kind: str
    query: int


def measure(bench: Bench) -> pd.DataFrame:
    chosen, rows = list(_chosen(bench)), []
    for start in bench.starts:
        # Training from the solution must leave time for training from scratch.
        with bench.within(bench.time_for(start, 0.6)):
            for choice in chosen:
                measured = bench.change_without([choice.example], start)
                if measured is None:
                    break
                rows.append(_rows(bench, start, choice, measured))
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
    """The examples that the check leaves out, time permitting, in that order."""
    return [choice.example for choice in _chosen(bench)]


def _chosen(bench: Bench) -> Iterator[Choice]:
    """The choices, with all kinds in turn, so that a check that is cut short has all of them."""
    seen: set[int] = set()
    generator = bench.generator("leave-one-out")
    queries = iter(generator.permutation(len(bench.scores)))
    others = iter(generator.permutation(bench.count))
    while len(seen) < min(EXAMPLES_LEFT_OUT, bench.count):
        query = next(queries, None)
        picks = []
        if query is not None:
            for kind, helpful in (("helpful", True), ("harmful", False)):
                picks += [Choice(int(example), kind, int(query)) for example in top(bench.scores[query], 1, helpful)]
        random = next(others, None)
        if random is not None:
            picks.append(Choice(int(random), "random", -1))
        if not picks:
            return
        for choice in picks:
            if choice.example not in seen and len(seen) < EXAMPLES_LEFT_OUT:
                seen.add(choice.example)
                yield choice


def _moments(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n, 5), means over queries of x, y, xx, yy, xy for each example: they determine `_pooled` for any examples."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    return np.stack([x.mean(1), y.mean(1), (x * x).mean(1), (y * y).mean(1), (x * y).mean(1)], axis=1)


def _pooled(moments: np.ndarray, rows: np.ndarray) -> float:
    """Pearson's r over all (example, query) pairs of some examples; NaN where one side is constant."""
    x, y, xx, yy, xy = moments[rows].mean(0)
    spread = (xx - x * x) * (yy - y * y)
    return float((xy - x * y) / np.sqrt(spread)) if spread > 0 else float("nan")


def _rows(bench: Bench, start: str, choice: Choice, measured: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "stage": bench.stage,
            "start": start,
            "example": np.int32(choice.example),
            "kind": choice.kind,
            "chosen_for": np.int32(choice.query),
            "query": np.arange(len(measured), dtype=np.int32),
            "predicted": bench.scores[:, choice.example].astype(np.float32),
            "measured": measured.astype(np.float32),
        }
    )


CHECK = Check("leave-one-out", "Does leaving one example out change losses as predicted?", 0.3, 8, measure, findings)
