"""Compare the scores with baselines (simpler scores, models that learned nothing) by agreement with retraining."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
import torch

from influence.errors import CurvatureError, TrainingError
from influence.validation.bench import Bench
from influence.validation.check import Check, Finding
from influence.validation.checks import leave_one_out, subsets
from influence.validation.checks.planted import labels_of, trained_on
from influence.validation.statistics import mean_interval, spearman

DAMPING = 1e-2
"""Damping for untrained models, whose curvature may be 0."""


def measure(bench: Bench) -> pd.DataFrame:
    against, sums, measured = _measured(bench)
    rows = []
    again = bench.expected(bench.anew)
    costs = {
        "untrained model": bench.expected_scores(),
        "shuffled labels": bench.expected_scores() + again,
    }
    for name, scores in _scores(bench) if against else ():
        found = bench.piece(
            name,
            {"sanity": name, "against": against, "sums": [list(map(int, each)) for each in sums]},
            partial(_compared, name, against, scores, sums, measured),
            costs.get(name, 0.0),
        )
        if found is not None and len(found):
            rows.append(found)
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def findings(table: pd.DataFrame) -> list[Finding]:
    found = []
    for name, part in table.groupby("scores", sort=False):
        each = part["rank_correlation"].to_numpy(np.float64)
        mean, low, high = mean_interval(each)
        words = (
            f"Scores of {name} order what was measured ({part['against'].iloc[0]}) with {mean:.2f} (rank "
            "correlation); the interval is over queries, all judged by the same retrainings."
        )
        found.append(Finding(f"rank correlation, {name}", mean, low, high, len(each), words))
    return found


def _measured(bench: Bench) -> tuple[str, list[np.ndarray], np.ndarray]:
    """(kind of sets, examples of each set, measured changes (Q, sets) from the solution).

    Only cached retrainings are used: subsets, or single examples if there are fewer than five subsets. With fewer than
    five of either the kind is "".
    """
    with bench.within(0):  # cached pieces only
        out = [subsets.left_out(bench, i, k) for k in subsets.KEPT_SHARES for i in range(subsets.SUBSETS_PER_SHARE)]
        found = [(each, bench.change_without(each.tolist(), "solution")) for each in out]
        kind = "subsets"
        if sum(change is not None for _, change in found) < 5:
            single = [np.array([example]) for example in leave_one_out.chosen_examples(bench)]
            found = [(each, bench.change_without(each.tolist(), "solution")) for each in single]
            kind = "leave-one-out"
    pairs = [(each, change) for each, change in found if change is not None]
    if len(pairs) < 5:
        return "", [], np.empty(0)
    return kind, [each for each, _ in pairs], np.stack([change for _, change in pairs], axis=1)


def _scores(bench: Bench) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    yield "the run's own", lambda: bench.scores
    if "identity" in bench.run.methods(bench.stage):
        yield "identity curvature", lambda: np.asarray(bench.run.scores(bench.stage, "identity")[:])
    if bench.run.embedding() is not None and bench.study.position(bench.stage) == 0:
        yield "embedding neighbours", partial(_nearness, bench)
    if "scratch" in bench.starts:
        yield "untrained model", partial(_untrained, bench)
    if labels_of(bench.study.stages[bench.study.position(bench.stage)]) is not None:
        yield "shuffled labels", partial(_shuffled, bench)


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


def _nearness(bench: Bench) -> np.ndarray:
    """(Q, m), cosine of the embeddings of every query and every example."""
    examples, queries = (np.asarray(array[:], np.float64) for array in bench.run.embedding() or ())
    examples, queries = (each / np.linalg.norm(each, axis=1, keepdims=True).clip(1e-12) for each in (examples, queries))
    return queries @ examples.T


def _untrained(bench: Bench) -> np.ndarray:
    before: dict[str, torch.Tensor] = {}
    values = []
    for objective in bench.retrainer.objectives:
        inherited = {here: before[there] for here, there in objective.groups.inherited.items()}
        before = {**bench.retrainer.starts[objective.stage.name], **inherited}
        values.append(before)
    return bench.scores_of(bench.retrainer.study_at(values), curvature="ggn", damping=DAMPING)


def _shuffled(bench: Bench) -> np.ndarray:
    """Scores of models that were trained on the stage's examples with permuted labels."""
    labels = labels_of(bench.study.stages[bench.study.position(bench.stage)])
    assert labels is not None
    at = trained_on(bench, bench.generator("shuffled").permutation(labels))
    return bench.scores_of(at, curvature="ggn", damping=DAMPING)


CHECK = Check(
    "sanity", "Do the scores beat simpler ones, and those of models that learned nothing?", 0.1, 0, measure, findings
)
