"""The noise floor: how much retraining changes losses when no example is left out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from influence.validation.bench import Bench
from influence.validation.check import Check, Finding
from influence.validation.statistics import mean_interval

NUDGE = 1e-6
"""Change of one example's weight. If training is a smooth function of its data, losses hardly change."""
NUDGES, RANDOM_STARTS = 3, 5
"""Retrainings with one weight changed, and from other random starts."""


def measure(bench: Bench) -> pd.DataFrame:
    rows = []
    for start in bench.starts:
        with bench.within(bench.time_for(start, 0.5)):
            for seed, example in enumerate(bench.generator("noise").choice(bench.count, NUDGES)):
                weights = torch.ones(bench.count, dtype=torch.float64)
                weights[example] += NUDGE
                before = bench.outcome(None, start)
                after = None if before is None else bench.outcome(weights, start)
                if before is not None and after is not None:
                    rows.append(_rows("weight by 1e-6", start, seed, (after["loss"] - before["loss"]).to_numpy()))
    for seed in range(1, RANDOM_STARTS + 1) if "scratch" in bench.starts else ():
        before = bench.outcome(None, "scratch")
        after = None if before is None else bench.outcome(None, "scratch", seed)
        if before is not None and after is not None:
            rows.append(_rows("seed", "scratch", seed, (after["loss"] - before["loss"]).to_numpy()))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def findings(table: pd.DataFrame) -> list[Finding]:
    found = []
    for (changed, start), part in table.groupby(["changed", "start"], sort=False):
        each = part.groupby("seed")["measured"].apply(lambda values: float(np.sqrt((values**2).mean()))).to_numpy()
        value, low, high = mean_interval(each)
        what = "another seed" if changed == "seed" else "one weight changed by a millionth"
        words = (
            f"With nothing left out but {what}, training again changes a query's loss by {value:.2g} nats "
            "(root mean square): smaller effects cannot be measured in this way."
            if value
            else f"With nothing left out but {what}, training again does not move: it is at its minimum already."
        )
        found.append(Finding(f"noise, {changed}", value, low, high, len(each), words, str(start)))
    return found


def _rows(changed: str, start: str, seed: int, measured: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "changed": changed,
            "start": start,
            "seed": np.int32(seed),
            "query": np.arange(len(measured), dtype=np.int32),
            "measured": measured.astype(np.float32),
        }
    )


CHECK = Check("noise", "How much do losses change when nothing was left out?", 0.05, 2, measure, findings)
