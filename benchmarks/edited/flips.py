"""Labels flipped at random: does correcting repair more than removing, and which ranking finds them? For `edits.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from planted_texts import area
from rich.console import Console
from rich.table import Table
from torch.utils.data import TensorDataset

from influence import attribute, edits, relabel_scores, targets
from influence.curvature import method_named
from influence.derivatives.losses import checked_losses
from influence.derivatives.objective import objectives_of
from influence.precompute.self_influence import self_influence
from influence.studies.images import Digits
from influence.study.study import Study
from influence.training import Retrainer, fit_stage

OPTIONS: dict[str, Any] = {"method": "exact", "curvature": "ggn", "progress": False}
"""Gauss-Newton: with flipped labels a convolution may end where its Hessian is indefinite."""
SHARE = 0.05
"""Of the labels that are flipped, and of the examples that are repaired."""


def print_flips(kind: type[Digits], seeds: range, console: Console) -> None:
    """A row for each seed: what the flips cost on test queries, what each repair restores, area of each ranking."""
    rankings = ("gain", "harm", "loss", "self-influence")
    table = Table("flipped", "seed", "lost", "restored: relabelled", "left out", *rankings)
    for stage in ("pretrain", "finetune"):
        parted = []
        for seed in seeds:
            *losses, areas = repaired(kind(seed), stage, seed)
            parted.append(losses[1] - losses[2])
            table.add_row(stage, str(seed), *(f"{v:+.3f}" for v in losses), *(f"{v:.2f}" for v in areas))
        spread = 1.96 * np.std(parted, ddof=1) / len(parted) ** 0.5 if len(parted) > 1 else np.nan
        console.print(
            f"Labels of {stage} flipped: relabelling restores {np.mean(parted):+.3f} nats more than leaving out "
            f"(half of the 95 % interval {spread:.3f})"
        )
    console.print(table)


def repaired(digits: Digits, where: str, seed: int) -> tuple[float, float, float, list[float]]:
    """(lost test loss, what relabelling and leaving out the same top examples restores, areas of the rankings)."""
    study = digits.exhibit("frozen").study
    for previous, stage in study.pairs():
        fit_stage(stage, previous)
    half = len(study.queries) // 2
    order = np.random.default_rng([seed, half]).permutation(len(study.queries))
    held_out, test = order[:half].tolist(), order[half:]
    clean = Retrainer(study).retrain().losses[test].mean()
    flipped = flip(study, where, seed)
    for previous, stage in study.pairs():
        fit_stage(stage, previous)
    judged = {"targets": [targets.mean(held_out)], **OPTIONS}
    effects = relabel_scores(study, where, **judged).values[0]
    gain, best = -effects.min(1), effects.argmin(1)
    objective = objectives_of(study)[study.position(where)]
    own = self_influence(objective, method_named("exact")(objective, curvature="ggn", damping=None), lambda _: None)
    rankings = (
        gain,
        -attribute(study, stage=where, **judged).values[0],
        checked_losses(objective, objective.stage.data).double().numpy(),
        own["self_influence"].to_numpy(),
    )
    top = np.argsort(-gain)[: flipped.sum()]
    top = top[gain[top] > 0].tolist()
    retrainer = Retrainer(study)
    before = retrainer.retrain().losses[test].mean()
    after = [
        retrainer.retrain(edits=edit).losses[test].mean()
        for edit in (edits.relabel(where, top, best[top].tolist()), edits.leave_out(where, top))
    ]
    return before - clean, before - after[0], before - after[1], [area(values, flipped) for values in rankings]


def flip(study: Study, where: str, seed: int) -> np.ndarray:
    """Give a share of a stage's examples another label; which, (m,) bool."""
    stage = study.stages[study.position(where)]
    images, labels = stage.data.tensors
    draw, classes = np.random.default_rng(seed), int(labels.max()) + 1
    rows = draw.choice(len(labels), round(SHARE * len(labels)), replace=False)
    given = labels.clone()
    given[rows] = (labels[rows] + torch.from_numpy(draw.integers(1, classes, len(rows)))) % classes
    stage.data = TensorDataset(images, given)
    return np.isin(np.arange(len(labels)), rows)
