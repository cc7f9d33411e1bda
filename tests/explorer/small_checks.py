"""Checks of a small run, as `upstream validate` would write them: made-up measurements, real summaries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from influence.run.additions import add_tables
from influence.run.reading import Run
from influence.validation import CHECKS
from influence.validation.checks.stability import compared
from influence.validation.statistics import found_by, spearman
from influence.validation.suite import _summary

LEFT_OUT = 18
"""Examples that are left out singly."""


def checked(run: Run, checks: Sequence[str] = (), *, noise: float = 0.2, seeds: float = 0.6, seed: int = 0) -> Run:
    """The run with tables of `checks` (all), where measured is predicted with noise of `noise` times its size.

    `seeds` is the same noise of scores of another training.
    """
    rng = np.random.default_rng(seed)
    scores = np.asarray(run.scores()[:])
    tables = {
        "noise": _noise(rng, len(scores)),
        "leave-one-out": _singles(rng, scores, noise),
        "subsets": _subsets(rng, scores, noise),
        "strongest": _strongest(np.random.default_rng(seed), scores, noise),
        "removal": _removal(rng, scores, "prediction" in run.queries()),
        "stability": _stability(rng, scores, seeds),
        "planted": _planted(rng, scores.shape[1]),
        "sanity": _sanity(rng, scores, noise),
    }
    for name in checks or tables:
        run = add_tables(run, {name: tables[name], "summary": _summary(run, CHECKS[name], tables[name])})
    return Run.open(run.path)


def _noisy(rng: np.random.Generator, values: np.ndarray, noise: float) -> np.ndarray:
    return values + noise * values.std() * rng.normal(size=values.shape)


def _noise(rng: np.random.Generator, queries: int) -> pd.DataFrame:
    rows = [
        _each(queries, changed=changed, start=start, seed=np.int32(seed), measured=size * rng.normal(size=queries))
        for changed, start, size in (("weight by 1e-6", "solution", 1e-8), ("seed", "scratch", 3e-3))
        for seed in range(3)
    ]
    return pd.concat(rows, ignore_index=True)


def _singles(rng: np.random.Generator, scores: np.ndarray, noise: float) -> pd.DataFrame:
    rows = []
    for start, more in (("solution", 1.0), ("scratch", 2.0)):
        for place in range(LEFT_OUT):
            kind = ("helpful", "harmful", "random")[place % 3]
            row = scores[place]
            example = {"helpful": int(row.argmax()), "harmful": int(row.argmin()), "random": place}[kind]
            predicted = scores[:, example]
            rows.append(
                _each(
                    len(scores),
                    stage="pretrain",
                    start=start,
                    example=np.int32(example),
                    kind=kind,
                    chosen_for=np.int32(-1 if kind == "random" else place),
                    predicted=predicted,
                    measured=_noisy(rng, predicted, noise * more),
                )
            )
    return pd.concat(rows, ignore_index=True)


def _subsets(rng: np.random.Generator, scores: np.ndarray, noise: float) -> pd.DataFrame:
    rows = []
    for kept in (0.5, 0.9):
        for subset in range(12):
            out = rng.choice(scores.shape[1], round((1 - kept) * scores.shape[1]), replace=False)
            predicted = scores[:, out].sum(1)
            rows.append(
                _each(
                    len(scores),
                    stage="pretrain",
                    start="solution",
                    kept=np.float32(kept),
                    subset=np.int32(subset),
                    seed=np.int32(0),
                    predicted=predicted,
                    measured=_noisy(rng, predicted, 2 * noise),
                )
            )
    return pd.concat(rows, ignore_index=True)


def _strongest(rng: np.random.Generator, scores: np.ndarray, noise: float) -> pd.DataFrame:
    queries, best = np.arange(6), scores[:6].max(1)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "stage": "pretrain",
                    "start": "solution",
                    "scores": name,
                    "query": queries.astype(np.int32),
                    "left_out": np.int32(1),
                    "predicted": (share * best).astype(np.float32),
                    "measured": _noisy(rng, share * best, noise).astype(np.float32),
                    "random": np.float32(0.0),
                }
            )
            for name, share in (("the run's own", 1.0), ("embedding neighbours", 0.3))
        ],
        ignore_index=True,
    )


def _removal(rng: np.random.Generator, scores: np.ndarray, classes: bool) -> pd.DataFrame:
    rows = []
    for share in (0.1, 0.01, 0.05):
        for kind, effect in (("harmful", -0.02), ("random", 0.002), ("helpful", 0.03)):
            for seed in range(3 if kind == "random" else 1):
                change = share * 10 * effect
                rows.append(
                    {
                        "stage": "pretrain",
                        "start": "solution",
                        "kind": kind,
                        "share": np.float32(share),
                        "left_out": np.int32(share * scores.shape[1]),
                        "seed": np.int32(seed),
                        "loss": np.float32(0.4 + change + 0.001 * rng.normal()),
                        "loss_before": np.float32(0.4),
                        "accuracy": np.float32(0.8 - change if classes else np.nan),
                        "accuracy_before": np.float32(0.8 if classes else np.nan),
                        "predicted": np.float32(change),
                    }
                )
    return pd.DataFrame(rows)


def _stability(rng: np.random.Generator, scores: np.ndarray, seeds: float) -> pd.DataFrame:
    changes = (("damping", "0.01", 0.15), ("curvature", "ggn", 0.3), ("training seed", "1", seeds))
    rows = [compared(changed, value, scores, _noisy(rng, scores, noise)) for changed, value, noise in changes]
    return pd.concat(rows, ignore_index=True).assign(stage="pretrain")


def _planted(rng: np.random.Generator, count: int) -> pd.DataFrame:
    rows, at = [], np.linspace(0, 1, 101)
    for share in (0.1, 0.05):
        for seed in range(2):
            wrong = rng.choice(count, max(1, round(share * count)), replace=False)
            for finder, luck in (("harm", 0.2), ("self-influence", 0.5), ("loss", 0.3), ("random", np.inf)):
                suspicion = np.isin(np.arange(count), wrong) + (rng.normal(size=count) * min(luck, 1e6))
                checked, found, area = found_by(np.argsort(-suspicion), wrong)
                rows.append(
                    pd.DataFrame(
                        {
                            "stage": "pretrain",
                            "share": np.float32(share),
                            "seed": np.int32(seed),
                            "finder": finder,
                            "checked": at.astype("float32"),
                            "found": np.interp(at, checked, found).astype("float32"),
                            "area": np.float32(area),
                        }
                    )
                )
    return pd.concat(rows, ignore_index=True)


def _sanity(rng: np.random.Generator, scores: np.ndarray, noise: float) -> pd.DataFrame:
    measured = _noisy(rng, scores, noise)
    others = {"the run's own": scores, "embedding neighbours": rng.normal(size=scores.shape)}
    others["shuffled labels"] = rng.normal(size=scores.shape)
    rows = [
        _each(len(scores), scores=name, against="leave-one-out", rank_correlation=spearman(values, measured))
        for name, values in others.items()
    ]
    return pd.concat(rows, ignore_index=True)


def _each(queries: int, **columns: object) -> pd.DataFrame:
    """A row a query, numbers as float32."""
    table = pd.DataFrame({"query": np.arange(queries, dtype="int32"), **columns})
    return table.astype(dict.fromkeys(table.select_dtypes("float64").columns, "float32"))
