"""Train on random subsets of a stage's examples: the linear datamodeling score (Park et al. 2023, section 4)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from influence.validation.bench import Bench
from influence.validation.check import Check, Finding
from influence.validation.statistics import interval, spearman

KEPT_SHARES = (0.5, 0.9)
"""Shares of the examples that a subset keeps."""
SUBSETS_PER_SHARE = 50
MIN_SUBSETS = 8
"""With fewer subsets than this, no rank correlation is given."""
STARTS_PER_SUBSET = 3
"""Random starts of each subset, from scratch."""
RESAMPLED_QUERIES = 500
"""Largest number of queries in the bootstrap."""


def measure(bench: Bench) -> pd.DataFrame:
    rows: list[pd.DataFrame] = []
    for start in bench.starts:
        seeds = [None] if start == "solution" else [None, *range(1, STARTS_PER_SUBSET)]
        with bench.within(bench.time_for(start, 0.7)):
            for subset, kept, seed in _in_order(seeds):
                out = left_out(bench, subset, kept)
                measured = bench.change_without(out.tolist(), start, seed)
                if measured is None:
                    break
                rows.append(_rows(bench, start, kept, subset, seed or 0, out, measured))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def _in_order(seeds: list[int | None]) -> list[tuple[int, float, int | None]]:
    """Subset, share kept and seed of every training: first the few that give a rank correlation, of halves."""
    every = [(i, k, s) for i in range(SUBSETS_PER_SHARE) for k in KEPT_SHARES for s in seeds]
    few = len(KEPT_SHARES)
    return sorted(every, key=lambda e: KEPT_SHARES.index(e[1]) if e[0] < MIN_SUBSETS and e[2] is None else few)


def left_out(bench: Bench, subset: int, kept: float) -> np.ndarray:
    """Positions of the examples that a subset leaves out."""
    number = max(1, round((1 - kept) * bench.count))
    return np.sort(bench.generator("subsets", subset, str(kept)).choice(bench.count, number, replace=False))


def scores_and_changes(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and measured (mean over seeds), both (queries, subsets), of a table's one start and share."""
    mean = table.pivot_table(index="query", columns="subset", values=["predicted", "measured"])
    return mean["predicted"].to_numpy(), mean["measured"].to_numpy()


def findings(table: pd.DataFrame) -> list[Finding]:
    found = []
    for (start, kept), part in table.groupby(["start", "kept"], sort=False):
        if part["subset"].nunique() < MIN_SUBSETS:
            continue
        predicted, measured = scores_and_changes(part)
        each = spearman(predicted, measured)
        low, high = _interval(part)
        count = predicted.shape[1]
        words = (
            f"{count} random subsets with {kept:.0%} of the examples: summed scores order the measured losses with a "
            f"rank correlation (LDS) of {np.nanmean(each):.2f} on average over queries."
        )
        what = f"LDS, {kept:.0%} kept"
        found.append(Finding(what, float(np.nanmean(each)), low, high, count, words, str(start)))
    return found


def _interval(part: pd.DataFrame) -> tuple[float, float]:
    """Of the mean over queries, subsets and seeds drawn again."""
    queries = np.sort(part["query"].unique())
    queries = queries[:: max(1, len(queries) // RESAMPLED_QUERIES)]
    part = part[part["query"].isin(queries)]
    seeds = part["seed"].unique()
    predicted, _ = scores_and_changes(part)
    cube = part.pivot_table(index=["seed", "query"], columns="subset", values="measured")
    measured = np.stack([cube.loc[seed].reindex(queries).to_numpy() for seed in seeds])
    generator = np.random.default_rng(0)

    def lds(columns: np.ndarray) -> float:
        drawn = measured[generator.integers(0, len(seeds), len(seeds))]
        with np.errstate(invalid="ignore"):
            mean = np.nanmean(drawn, axis=0) if len(seeds) > 1 else drawn[0]
        columns = columns[np.isfinite(mean[:, columns]).all(0)]
        return float(np.nanmean(spearman(predicted[:, columns], mean[:, columns]))) if len(columns) > 2 else np.nan

    return interval(lds, predicted.shape[1], generator, draws=200)


def _rows(
    bench: Bench, start: str, kept: float, subset: int, seed: int, out: np.ndarray, measured: np.ndarray
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "stage": bench.stage,
            "start": start,
            "kept": np.float32(kept),
            "subset": np.int32(subset),
            "seed": np.int32(seed),
            "query": np.arange(len(measured), dtype=np.int32),
            "predicted": bench.scores[:, out].sum(1, dtype=np.float64).astype(np.float32),
            "measured": measured.astype(np.float32),
        }
    )


CHECK = Check("subsets", "Do summed scores order what training on random subsets does?", 0.25, 9, measure, findings)
