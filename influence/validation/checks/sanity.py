"""Compare the scores with baselines (simpler scores, models that learned nothing) by agreement with retraining."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
import torch

from influence.errors import CurvatureError, TrainingError
from influence.run.nearness.baselines import OWN, Baseline, baselines
from influence.validation.bench import Bench
from influence.validation.check import Check, Finding
from influence.validation.checks import leave_one_out, subsets
from influence.validation.checks.planted import labels_of, trained_on
from influence.validation.statistics import mean_interval, spearman

FEWEST_SETS = 5
"""Sets of left-out examples below which nothing is compared."""
DAMPING = 1e-2
"""Damping for untrained models, whose curvature may be 0."""
READING = 1e-6
"""Seconds for each score of a matrix that is there, to read and compare it, until it was measured."""


def measure(bench: Bench) -> pd.DataFrame:
    rows = []
    costs = {
        "untrained model": bench.expected_scores(),
        "shuffled labels": bench.expected_scores() + bench.expected(bench.anew),
    }
    reading = READING * bench.scores.size
    for number, (against, sums, measured) in enumerate(_measured(bench)):
        for name, scores in _scores(bench):
            if number and name in costs:
                continue  # once is dear enough
            found = bench.piece(
                name,
                {"against": against, "start": bench.starts[0], "sums": [list(map(int, each)) for each in sums]},
                partial(_compared, name, against, scores, sums, measured),
                costs.get(name, reading),
            )
            if found is not None and len(found):
                rows.append(found)
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def findings(table: pd.DataFrame) -> list[Finding]:
    found, first = [], table["against"].iloc[0]
    for (against, name), part in table.groupby(["against", "scores"], sort=False):
        each = part["rank_correlation"].to_numpy(np.float64)
        mean, low, high = mean_interval(each)
        words = (
            f"Scores of {name} order what was measured ({against}) with {mean:.2f} (rank "
            "correlation); the interval is over queries, all judged by the same retrainings."
        )
        what = "rank correlation" if against == first else "rank correlation of single examples"
        found.append(Finding(f"{what}, {name}", mean, low, high, len(each), words))
    return found


def _measured(bench: Bench) -> list[tuple[str, list[np.ndarray], np.ndarray]]:
    """(kind of sets, examples of each set, measured changes (Q, sets)): of subsets of one size, and of single examples.

    Only cached retrainings are used, in the way that scores are judged by; a kind of fewer than five is left out. Sizes
    are not mixed: the larger of two random sets has the larger sum by any positive numbers.
    """
    kinds = {
        f"subsets with {kept:.0%} kept": [subsets.left_out(bench, i, kept) for i in range(subsets.SUBSETS_PER_SHARE)]
        for kept in subsets.KEPT_SHARES
    }
    kinds = {name: sets for name, sets in kinds.items() if _known(bench, sets)}
    singles = [np.array([example]) for example in leave_one_out.chosen_examples(bench)]
    found = []
    for name, sets in [*list(kinds.items())[:1], ("leave-one-out", singles)]:
        known = _known(bench, sets)
        if known:
            found.append((name, [each for each, _ in known], np.stack([change for _, change in known], axis=1)))
    return found


def _known(bench: Bench, sets: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sets of examples that were left out, and what that changed; empty if they are too few."""
    with bench.within(0):  # cached pieces only
        found = [(each, bench.change_without(each.tolist(), bench.starts[0])) for each in sets]
    known = [(each, change) for each, change in found if change is not None]
    return known if len(known) >= FEWEST_SETS else []


def _scores(bench: Bench) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    yield OWN, lambda: bench.scores
    if "identity" in bench.run.methods(bench.stage):
        yield "identity curvature", lambda: bench.scores_by("identity")
    for name, made in baselines(bench.run, bench.stage).items():
        yield name, partial(_simpler, made, len(bench.scores))
    if "scratch" in bench.starts:
        yield "untrained model", partial(_untrained, bench)
    labels = labels_of(bench.study.stages[bench.study.position(bench.stage)])
    if labels is not None and np.ptp(labels):  # of a language model all are alike, and so are they in any order
        yield "shuffled labels", partial(_shuffled, bench, labels)


def _compared(
    name: str, against: str, scores: Callable[[], np.ndarray], sums: list[np.ndarray], measured: np.ndarray
) -> pd.DataFrame:
    try:
        values = scores()
    except (CurvatureError, TrainingError):
        values = np.empty((0, 0))
    predicted = np.stack([values[:, each].sum(1) for each in sums], axis=1) if len(values) else np.empty((0, len(sums)))
    return pd.DataFrame(
        {
            "scores": name,
            "against": against,
            "query": np.arange(len(predicted), dtype=np.int32),
            "rank_correlation": spearman(predicted, measured[: len(predicted)]).astype(np.float32),
        }
    )


def _simpler(made: Callable[[], Baseline], queries: int) -> np.ndarray:
    """(Q, m), a baseline's numbers."""
    scores = made()
    return np.stack([scores(query) for query in range(queries)])


def _untrained(bench: Bench) -> np.ndarray:
    before: dict[str, torch.Tensor] = {}
    values = []
    for objective in bench.retrainer.objectives:
        inherited = {here: before[there] for here, there in objective.groups.inherited.items()}
        before = {**bench.retrainer.starts[objective.stage.name], **inherited}
        values.append(before)
    return bench.scores_of(bench.retrainer.study_at(values), curvature="ggn", damping=DAMPING)


def _shuffled(bench: Bench, labels: np.ndarray) -> np.ndarray:
    """Scores of models that were trained on the stage's examples with their `labels` permuted."""
    at = trained_on(bench, bench.generator("shuffled").permutation(labels))
    return bench.scores_of(at, curvature="ggn", damping=DAMPING)


CHECK = Check(
    "sanity", "Do the scores beat simpler ones, and those of models that learned nothing?", 0.1, 2, measure, findings
)
