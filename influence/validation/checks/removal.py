"""Leave many examples out at once (the most harmful, the most helpful, random ones): change of loss and accuracy.

Examples are chosen by the scores of one half of the queries; loss and accuracy are those of the other half.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from influence.validation.bench import Bench
from influence.validation.check import Check, Finding
from influence.validation.statistics import mean_interval

SHARES = (0.1, 0.01, 0.05)
"""Shares of the examples that are left out, the most informative first."""
RANDOM_STARTS = 5
"""Repetitions, with other random choices and, from scratch, other random starts."""


def measure(bench: Bench) -> pd.DataFrame:
    halves = bench.generator("removal").permutation(len(bench.scores))
    choosing, judging = np.array_split(halves, 2)
    totals = bench.scores[choosing].mean(0)
    rows = []
    for start in bench.starts:
        with bench.within(bench.time_for(start, 0.6)):
            for seed in range(RANDOM_STARTS):
                for share, kind in ((s, k) for s in SHARES for k in ("harmful", "random", "helpful")):
                    if start == "solution" and seed and kind != "random":
                        continue  # nothing is random: the result would be the same again
                    row = _removed(bench, totals, judging, start, kind, share, seed)
                    if row is not None:
                        rows.append(row)
    return pd.DataFrame(rows).astype({"seed": np.int32, "left_out": np.int32}) if rows else pd.DataFrame()


def findings(table: pd.DataFrame) -> list[Finding]:
    found = []
    for (start, kind, share), part in table.groupby(["start", "kind", "share"], sort=False):
        gain = (part["accuracy"] - part["accuracy_before"]).to_numpy() * 100
        change = (part["loss"] - part["loss_before"]).to_numpy()
        mean, low, high = mean_interval(change)
        accuracy = "" if np.isnan(gain).all() else f", accuracy by {gain.mean():+.2f} percentage points"
        words = (
            f"Leaving out {share:.0%} of the examples ({kind}) changed the mean loss by {mean:+.4f} "
            f"nats{accuracy}; predicted was {part['predicted'].mean():+.4f}."
        )
        what = f"change of the mean loss, {share:.0%} {kind}"
        found.append(Finding(what, mean, low, high, len(part), words, str(start)))
    return found


def random_examples(bench: Bench, seed: int, number: int) -> list[int]:
    """So many examples at random, always the same by a seed."""
    return bench.generator("removal", seed).permutation(bench.count)[:number].tolist()


def _removed(
    bench: Bench, totals: np.ndarray, judging: np.ndarray, start: str, kind: str, share: float, seed: int
) -> dict[str, object] | None:
    number = max(1, round(share * bench.count))
    if kind == "random":
        out = np.array(random_examples(bench, seed, number))
    else:
        out = np.argsort(totals if kind == "harmful" else -totals, kind="stable")[:number]
    drawn = seed if seed and start == "scratch" else None
    before = bench.outcome(None, start, drawn)  # type: ignore[arg-type]
    weights = bench.retrainer.weights_without(bench.stage, np.sort(out).tolist())
    after = None if before is None else bench.outcome(weights, start, drawn)  # type: ignore[arg-type]
    if before is None or after is None:
        return None
    return {
        "stage": bench.stage,
        "start": start,
        "kind": kind,
        "share": np.float32(share),
        "left_out": number,
        "seed": seed,
        "loss": np.float32(after["loss"].to_numpy()[judging].mean()),
        "loss_before": np.float32(before["loss"].to_numpy()[judging].mean()),
        "accuracy": _accuracy(bench, after, judging),
        "accuracy_before": _accuracy(bench, before, judging),
        "predicted": np.float32(bench.scores[np.ix_(judging, out)].sum(1).mean()),
    }


def _accuracy(bench: Bench, outcome: pd.DataFrame, queries: np.ndarray) -> np.float32:
    if bench.truth is None:
        return np.float32(np.nan)
    return np.float32((outcome["predicted"].to_numpy() == bench.truth)[queries].mean())


CHECK = Check("removal", "Does leaving out the most harmful examples help?", 0.1, 4, measure, findings)
