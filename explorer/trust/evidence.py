"""Results of a run's checks, for the whole run and for one prediction, read from its validation tables."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from explorer.ui import state
from influence.run import ORDER_ONLY, OWN, Run

SETTLED_NORM = 1e-3
"""A training that ended with a larger gradient norm did not end at a minimum."""
SOLUTION, SCRATCH = "solution", "scratch"
STARTS = {state.FROM_SOLUTION: SOLUTION, state.FROM_SCRATCH: SCRATCH}
"""How a page calls each start of a retraining -> how tables call it."""
RETRAININGS = ("leave-one-out", "subsets", "strongest", "removal")
"""Checks that really leave examples out; their tables say from which start."""
SEED_CHANGES = ("training seed", "finetuning seed")
"""Changes that give another training; all others change how scores are computed."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure of the summary: a value, its 95 % interval (NaN: none), what it is over, and its sentence."""

    value: float
    low: float
    high: float
    count: int
    words: str

    @property
    def sure(self) -> float:
        """The end of the interval that promises least; without an interval, the value."""
        return self.low if np.isfinite(self.low) else self.value


def figures(run: Run, check: str, start: str = "", what: str = "") -> dict[str, Figure]:
    """The summary's figures of a check, by what follows `what` in their name; `start` "" is any."""
    table = run.validation("summary")
    if table is None:
        return {}
    kept = table[(table["check"] == check) & table["what"].str.startswith(what)]
    if start:
        kept = kept[kept["start"] == start]
    return {
        str(row["what"]).removeprefix(what): Figure(
            float(row["value"]), float(row["low"]), float(row["high"]), int(row["count"]), str(row["words"])
        )
        for row in kept.to_dict("records")
    }


def starts(run: Run) -> list[str]:
    """The ways in which examples were really left out, as far as they were."""
    found: set[str] = set()
    for check in RETRAININGS:
        table = run.validation(check)
        if table is not None:
            found |= set(table["start"].unique())
    return [start for start in (SOLUTION, SCRATCH) if start in found]


def unsettled(run: Run) -> dict[str, float]:
    """Stages whose training did not end at a minimum, where alone scores are derivatives of retraining: their norms."""
    norms = {stage.name: stage.training.gradient_norm for stage in run.manifest.stages}
    return {name: norm for name, norm in norms.items() if norm is not None and norm > SETTLED_NORM}


def stage_of(run: Run) -> str:
    """The stage whose examples were left out; the first if no check says it."""
    for check in (*RETRAININGS, "stability"):
        table = run.validation(check)
        if table is not None and "stage" in table and len(table):
            return str(table["stage"].iloc[0])
    return run.stages[0]


@dataclasses.dataclass(frozen=True)
class Stays:
    """How many of a prediction's k strongest examples of either sign stay in its list, by what is changed."""

    k: int
    shares: dict[str, float]

    @property
    def repeats(self) -> list[float]:
        """Shares under other settings and seeds. Another method only tells how near that one comes."""
        return [share for changed, share in self.shares.items() if changed != "method"] or list(self.shares.values())

    @property
    def fewest(self) -> int:
        return round(self.k * min(self.repeats))

    @property
    def most(self) -> int:
        return round(self.k * max(self.repeats))

    def words(self) -> str:
        """One line: the changes, the one that keeps least first."""
        ordered = sorted(self.shares.items(), key=lambda pair: pair[1])
        return "; ".join(f"another {changed}: {round(self.k * share)} of {self.k}" for changed, share in ordered)


def stays(run: Run, stage: str, position: int) -> Stays | None:
    """How many examples stay in the list of the query at `position`; None if it was not checked for this stage."""
    table = run.validation("stability")
    if table is None or stage_of(run) != stage:
        return None
    rows = table[table["query"] == position]
    shares = rows.groupby("changed", sort=False)["overlap"].mean().dropna()
    if shares.empty:
        return None
    return Stays(int(rows["k"].iloc[0]), {str(name): float(share) for name, share in shares.items()})


def left_out_singly(run: Run, stage: str, position: int, start: str = "") -> pd.DataFrame:
    """`example`, `kind`, `predicted`, `measured` of every example that was really left out, for one query.

    Of the first `start` that there is; empty if none was.
    """
    table = run.validation("leave-one-out")
    if table is None:
        return pd.DataFrame(columns=["example", "kind", "predicted", "measured"])
    rows = table[table["query"] == position]
    rows = rows[rows["stage"] == stage]
    wanted = start or next((name for name in (SOLUTION, SCRATCH) if (rows["start"] == name).any()), "")
    return rows[rows["start"] == wanted][["example", "kind", "predicted", "measured"]]


def own_rise(run: Run, stage: str, position: int, start: str, scores: str = OWN) -> float:
    """Rise of one query's loss without its own strongest 1 % by some scores, less that without a random 1 %, nats.

    NaN if that was not measured.
    """
    table = run.validation("strongest")
    if table is None:
        return float("nan")
    keep = (table["query"] == position) & (table["start"] == start) & (table["scores"] == scores)
    rows = table[keep & (table["stage"] == stage)]
    return float(rows["measured"].iloc[0] - rows["random"].iloc[0]) if len(rows) else float("nan")


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r; NaN of fewer than three pairs, or where one side is constant."""
    if len(first) < 3 or not np.ptp(first) or not np.ptp(second):
        return float("nan")
    return float(np.corrcoef(np.asarray(first, np.float64), np.asarray(second, np.float64))[0, 1])


def promised(run: Run) -> float:
    """Root mean square of the scores of examples that lead a list, nats, for the query whose list it is; 0: none."""
    table = run.validation("leave-one-out")
    if table is None:
        return 0.0
    led = table.loc[table["query"] == table["chosen_for"], "predicted"].to_numpy(np.float64)
    return float(np.sqrt(np.square(led).mean())) if len(led) else 0.0


def unitless(run: Run) -> bool:
    """Whether the default method's scores are an order only, not nats."""
    return run.unit(run.manifest.default_method) == ORDER_ONLY
