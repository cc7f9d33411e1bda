"""Compare the lists with those under other choices: damping, curvature, method, seeds of training and of finetuning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd

from influence.errors import CurvatureError
from influence.study.study import Study
from influence.validation.bench import Bench
from influence.validation.check import Check, Finding
from influence.validation.statistics import mean_interval, overlap, spearman

LIST_LENGTH = 10
"""Examples of either sign that are compared."""
OTHER_DAMPINGS = (1e-3, 1e-2, 1e-1)
"""Dampings in place of the run's own."""
OTHER_SEEDS = (1, 2)
"""Seeds of training, and of finetuning, in place of the run's own."""
QUERIES_AT_ONCE = 200
"""Queries that are ranked at a time, to bound memory."""


def measure(bench: Bench) -> pd.DataFrame:
    rows = []
    for changed, value, scores in _variants(bench):
        found = bench.piece(
            f"scores, {changed}" if "seed" in changed else "scores",
            {"changed": changed, "value": value, "k": LIST_LENGTH},
            partial(_compared, bench, changed, value, scores),
            _expected(bench, changed),
        )
        if found is not None:
            rows.append(found.assign(stage=bench.stage))
        if bench.bar:
            bench.bar.advance()
    rows = [each for each in rows if len(each)]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def findings(table: pd.DataFrame) -> list[Finding]:
    found = []
    for changed, part in table.groupby("changed", sort=False):
        each = part.groupby("query")["overlap"].mean().to_numpy()
        mean, low, high = mean_interval(each)
        ranks = float(part["rank_correlation"].mean())
        words = (
            f"With another {changed} ({', '.join(part['value'].unique())}), {mean:.0%} of the "
            f"{part['k'].iloc[0]} strongest examples of either sign stay in a query's lists; rank "
            f"correlation {ranks:.2f}."
        )
        found.append(Finding(f"overlap, other {changed}", mean, low, high, len(each), words))
    return found


def compared(changed: str, value: str, own: np.ndarray, other: np.ndarray) -> pd.DataFrame:
    """Rows of the table: agreement of every query's lists by the scores `own` and `other`, both (Q, m)."""
    k = min(LIST_LENGTH, own.shape[1] // 2)
    ranks = [
        spearman(own[i : i + QUERIES_AT_ONCE], other[i : i + QUERIES_AT_ONCE])
        for i in range(0, len(own), QUERIES_AT_ONCE)
    ]
    return pd.DataFrame(
        {
            "changed": changed,
            "value": value,
            "query": np.arange(len(own), dtype=np.int32),
            "k": np.int32(k),
            "overlap": overlap(own, other, k).astype(np.float32),
            "rank_correlation": np.concatenate([np.zeros(0), *ranks]).astype(np.float32),
        }
    )


def _compared(bench: Bench, changed: str, value: str, scores: Callable[[], np.ndarray]) -> pd.DataFrame:
    try:
        return compared(changed, value, bench.scores, scores())
    except CurvatureError:  # no scores under this choice, so no rows
        return compared(changed, value, bench.scores[:0], bench.scores[:0])


def _variants(bench: Bench) -> Iterator[tuple[str, str, Callable[[], np.ndarray]]]:
    """(what is changed, its new value, function that gives the scores), the most informative first."""
    own, study = bench.exhibit, bench.study
    solve = bench.scores_of
    curvature = "ggn" if own.curvature == "hessian" else "hessian"
    yield "damping", f"{OTHER_DAMPINGS[1]:g}", partial(solve, study, damping=OTHER_DAMPINGS[1])
    if own.method in ("exact", "cg"):
        yield "curvature", curvature, partial(solve, study, curvature=curvature)
    yield "damping", f"{OTHER_DAMPINGS[2]:g}", partial(solve, study, damping=OTHER_DAMPINGS[2])
    for method in bench.run.methods(bench.stage):
        if method != bench.run.manifest.default_method:
            yield "method", method, partial(_stored, bench, method)
    if own.method == "exact":
        yield "method", "ekfac", partial(solve, study, method="ekfac", curvature="ggn")
    yield "damping", f"{OTHER_DAMPINGS[0]:g}", partial(solve, study, damping=OTHER_DAMPINGS[0])
    if "scratch" in bench.starts:
        for seed in OTHER_SEEDS:
            if len(study.stages) > 1:
                yield "finetuning seed", str(seed), lambda s=seed: solve(_finetuned(bench, s))  # type: ignore[misc]
            yield "training seed", str(seed), lambda s=seed: solve(_trained(bench, s))  # type: ignore[misc]


def _stored(bench: Bench, method: str) -> np.ndarray:
    return bench.scores_by(method)


def _trained(bench: Bench, seed: int) -> Study:
    return bench.retrainer.study_at(bench.retrainer.retrain(start="scratch", seed=seed).parameters)


def _finetuned(bench: Bench, seed: int) -> Study:
    """The study with all stages after the first trained again from another start."""
    return bench.retrainer.study_at(bench.retrainer.finetuned(seed).parameters)


def _expected(bench: Bench, changed: str) -> float:
    return bench.expected_scores() + (bench.expected("scratch") if "seed" in changed else 0.0)


CHECK = Check("stability", "Do the lists stay the same under other choices?", 0.15, 1, measure, findings)
