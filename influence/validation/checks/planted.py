"""Flip labels on purpose, train the study again, and measure how soon scores find the flipped ones."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from influence.curvature import method_named
from influence.derivatives import Objective
from influence.derivatives.losses import checked_losses
from influence.derivatives.objective import objectives_of
from influence.precompute.embedding import embed
from influence.precompute.pieces.self_influence import MAX_SOLVES, self_influence
from influence.study.stage import Stage
from influence.study.study import Study
from influence.training.retraining import Retrainer
from influence.validation.bench import Bench
from influence.validation.check import Check, Finding
from influence.validation.statistics import found_by, mean_interval

SHARES = (0.1, 0.05)
"""Shares of the labels that are flipped."""
PLANTINGS = 3
"""Repetitions of each share, with other labels."""
NEIGHBOURS = 10
"""Nearest neighbours in the embedding that an example's label is compared with."""
CURVE_POINTS = 101
"""Points of a stored detection curve."""


class Relabelled:
    """A data set of (input, label) with other labels."""

    def __init__(self, data: Any, labels: np.ndarray):
        self._data, self._labels = data, labels
        if hasattr(data, "lengths"):
            self.lengths = data.lengths

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, position: int) -> tuple[Any, ...]:
        example = self._data[position]
        label = int(self._labels[position])
        return (example[0], example[1].new_tensor(label) if isinstance(example[1], Tensor) else label, *example[2:])


def labels_of(stage: Stage) -> np.ndarray | None:
    """(m,), class number of every example; None if the examples are not (input, class number)."""
    found = []
    for position in range(len(stage.data)):
        example = stage.data[position]
        label = example[1] if isinstance(example, tuple | list) and len(example) > 1 else None
        if isinstance(label, Tensor) and label.dim() == 0 and not label.is_floating_point():
            label = int(label)
        if not isinstance(label, int):
            return None
        found.append(label)
    return np.array(found)


def measure(bench: Bench) -> pd.DataFrame:
    stage = bench.study.stages[bench.study.position(bench.stage)]
    classes = bench.run.stage(bench.stage).classes
    labels = labels_of(stage)
    if labels is None or len(classes) < 2:
        return pd.DataFrame()
    rows = []
    for seed, share in ((seed, share) for seed in range(PLANTINGS) for share in SHARES):
        found = bench.piece(
            "planted",
            {"share": share, "seed": seed},
            partial(_planted, bench, labels, len(classes), share, seed),
            bench.expected("scratch") + bench.expected_scores(),
        )
        if found is not None:
            rows.append(found)
        if bench.bar:
            bench.bar.advance()
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def findings(table: pd.DataFrame) -> list[Finding]:
    found = []
    for (share, finder), part in table.groupby(["share", "finder"], sort=False):
        areas = part.groupby("seed")["area"].first().to_numpy(np.float64)
        early = part[part["checked"].round(3) == 0.2]["found"].mean()
        mean, low, high = mean_interval(areas)
        words = (
            f"{share:.0%} of the labels flipped: looking at the first 20 % by {finder} finds {early:.0%} of them "
            f"(area {mean:.2f}, chance 0.50)."
        )
        found.append(Finding(f"area, {share:.0%} flipped, {finder}", mean, low, high, len(areas), words))
    return found


def _planted(bench: Bench, labels: np.ndarray, classes: int, share: float, seed: int) -> pd.DataFrame:
    generator = bench.generator("planted", str(share), seed)
    wrong = generator.choice(len(labels), max(1, round(share * len(labels))), replace=False)
    given = labels.copy()
    given[wrong] = (labels[wrong] + generator.integers(1, classes, len(wrong))) % classes
    study = trained_on(bench, given)
    orders = _orders(bench, study, given) | {"random": generator.permutation(len(labels))}
    rows = []
    for finder, order in orders.items():
        checked, found, area = found_by(order, wrong)
        at = np.linspace(0, 1, CURVE_POINTS)
        rows.append(
            pd.DataFrame(
                {
                    "stage": bench.stage,
                    "share": np.float32(share),
                    "seed": np.int32(seed),
                    "finder": finder,
                    "checked": at.astype(np.float32),
                    "found": np.interp(at, checked, found).astype(np.float32),
                    "area": np.float32(area),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def trained_on(bench: Bench, given: np.ndarray) -> Study:
    """The study with this and all later stages trained on the labels `given` (m,); from scratch if possible."""
    old, stages = bench.retrainer, list(bench.study.stages)
    position = bench.study.position(bench.stage)
    stages[position] = dataclasses.replace(stages[position], data=Relabelled(stages[position].data, given))
    study = Study(bench.study.name, stages, bench.study.queries, bench.study.measure)
    again = Retrainer(study, device=old.objectives[0].device, recipes=old.recipes, starts=old.starts)
    return again.study_at(again.retrain(start=bench.anew).parameters)


def _orders(bench: Bench, study: Study, given: np.ndarray) -> dict[str, np.ndarray]:
    """Finder (score, self-influence, loss, neighbours) -> order of the examples, the most suspect first."""
    objective = objectives_of(study)[study.position(bench.stage)]
    found = {"harm": bench.scores_of(study, curvature="ggn").mean(0)}
    own = _self_influence(bench, objective)
    if own is not None:
        found["self-influence"] = -own
    found["loss"] = -checked_losses(objective, objective.stage.data).double().numpy()
    if study.position(bench.stage) == 0 and bench.exhibit.embedding is not None:
        found["neighbours"] = -_strangers(embed(objective, objective.stage.data, bench.exhibit.embedding), given)
    return {finder: np.argsort(values, kind="stable") for finder, values in found.items()}


def _self_influence(bench: Bench, objective: Objective) -> np.ndarray | None:
    solver = method_named(bench.exhibit.method)(objective, curvature="ggn", damping=bench.exhibit.damping)
    if "iterations" in solver.report and objective.count > MAX_SOLVES:
        return None
    return self_influence(objective, solver, lambda _: None)["self_influence"].to_numpy()


def _strangers(vectors: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(m,), share of every example's nearest neighbours that have another label."""
    rows = torch.from_numpy(vectors).double()
    k = min(NEIGHBOURS, len(rows) - 1)
    near = torch.cat([torch.cdist(part, rows).topk(k + 1, largest=False).indices for part in rows.split(256)])
    others = near.numpy()[:, 1:]  # the nearest is itself
    return (given[others] != given[:, None]).mean(1)


CHECK = Check("planted", "How soon are labels found that were flipped on purpose?", 0.1, 1, measure, findings)
