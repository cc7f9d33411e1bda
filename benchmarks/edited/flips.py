"""Labels flipped at random: does correcting repair more than removing, and which ranking finds them? For `edits.py`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from planted_texts import area
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import Stage, attribute, edits, own_relabel_scores, relabel_scores, targets
from influence.curvature import method_named
from influence.derivatives.losses import checked_losses
from influence.derivatives.objective import objectives_of
from influence.precompute.pieces.self_influence import self_influence
from influence.study.study import Study
from influence.training import Retrainer, fit_stage

OPTIONS: dict[str, Any] = {"method": "exact", "curvature": "ggn", "progress": False}
"""Gauss-Newton: with flipped labels a convolution may end where its Hessian is indefinite."""
SHARES = (("pretrain", 0.05), ("finetune", 0.05), ("pretrain", 0.2))
"""Stage, and share of its labels that are flipped; as many examples are repaired."""
RANKINGS = ("own label", "gain", "harm", "loss", "self-influence")


def print_flips(studies: Mapping[str, Callable[[int], Study]], seeds: range, console: Console) -> None:
    """A row for each seed: what the flips cost on test queries, what each repair restores, area of each ranking."""
    table = Table("data", "flipped", "seed", "lost", "restored: relabelled", "left out", "right label", *RANKINGS)
    for data, study_of in studies.items():
        for stage, share in SHARES:
            parted = []
            for seed in seeds:
                lost, relabelled, left_out, right, areas = repaired(study_of(seed), stage, share, seed)
                parted.append(relabelled - left_out)
                figures = (f"{lost:+.3f}", f"{relabelled:+.3f}", f"{left_out:+.3f}", f"{right:.2f}")
                table.add_row(data, f"{share:.0%} of {stage}", str(seed), *figures, *(f"{v:.3f}" for v in areas))
            spread = 1.96 * np.std(parted, ddof=1) / len(parted) ** 0.5 if len(parted) > 1 else np.nan
            console.print(
                f"{data}, {share:.0%} of {stage} flipped: relabelling restores {np.mean(parted):+.3f} nats more than "
                f"leaving out (half of the 95 % interval {spread:.3f})"
            )
    console.print(table)


def small_digits(seed: int) -> Study:
    """scikit-learn's digits of 8 x 8 pixels: a layer of 8 units pretrained on half of them, and a head of its own."""
    found = load_digits()
    order = np.random.default_rng(seed).permutation(len(found.target))
    x = torch.from_numpy((found.data - found.data.mean(0)) / (found.data.std(0) + 1e-9))[order].double()
    y = torch.from_numpy(found.target.astype(np.int64))[order]
    torch.manual_seed(seed)
    ends = [0, len(y) // 2, 7 * len(y) // 10, len(y)]
    parts = [TensorDataset(x[a:b], y[a:b]) for a, b in itertools.pairwise(ends)]
    stages = [
        Stage("pretrain", Net(), loss, parts[0], l2=0.01),
        Stage("finetune", Net(), loss, parts[1], l2=0.01, frozen=["body.*"]),
    ]
    return Study("8 x 8 digits", stages, parts[2])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 8), nn.Tanh())
        self.head = nn.Linear(8, 10)
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def loss(outputs: torch.Tensor, batch: Any) -> torch.Tensor:
    return cross_entropy(outputs, batch[1], reduction="none")


def repaired(study: Study, where: str, share: float, seed: int) -> tuple[float, float, float, float, list[float]]:
    """(lost test loss, what relabelling and leaving out the same examples restores, right labels, areas of RANKINGS).

    Repaired are those whose own label the other examples speak against most, as many as were flipped.
    """
    fitted(study)
    half = len(study.queries) // 2
    order = np.random.default_rng([seed, half]).permutation(len(study.queries))
    held_out, test = order[:half].tolist(), order[half:]
    clean = Retrainer(study).retrain().losses[test].mean()
    truth = study.stages[study.position(where)].data.tensors[1].numpy()
    flipped = flip(study, where, share, seed)
    fitted(study)
    judged = {"targets": [targets.mean(held_out)], **OPTIONS}
    objective = objectives_of(study)[study.position(where)]
    own = self_influence(objective, method_named("exact")(objective), lambda _: None)
    labels = own_relabel_scores(study, where, **OPTIONS).values
    labels[np.arange(len(labels)), objective.stage.data.tensors[1]] = np.inf  # the best of the others, be it worse
    doubt, best = -labels.min(1), labels.argmin(1)
    rankings = (
        doubt,
        -relabel_scores(study, where, **judged).values[0].min(1),
        -attribute(study, stage=where, **judged).values[0],
        checked_losses(objective, objective.stage.data).double().numpy(),
        own["self_influence"].to_numpy(),
    )
    top = np.argsort(-doubt)[: flipped.sum()]
    top = top[: max(1, (doubt[top] > 0).sum())].tolist()
    retrainer = Retrainer(study)
    before = retrainer.retrain().losses[test].mean()
    after = [
        retrainer.retrain(edits=edit).losses[test].mean()
        for edit in (edits.relabel(where, top, best[top].tolist()), edits.leave_out(where, top))
    ]
    right = float((best[top] == truth[top]).mean())
    return before - clean, before - after[0], before - after[1], right, [area(values, flipped) for values in rankings]


def fitted(study: Study) -> None:
    """Train all stages to their minima, each from the one before."""
    for previous, stage in study.pairs():
        fit_stage(stage, previous)


def flip(study: Study, where: str, share: float, seed: int) -> np.ndarray:
    """Give a share of a stage's examples another label; which, (m,) bool."""
    stage = study.stages[study.position(where)]
    images, labels = stage.data.tensors
    draw, classes = np.random.default_rng(seed), int(labels.max()) + 1
    rows = draw.choice(len(labels), round(share * len(labels)), replace=False)
    given = labels.clone()
    given[rows] = (labels[rows] + torch.from_numpy(draw.integers(1, classes, len(rows)))) % classes
    stage.data = TensorDataset(images, given)
    return np.isin(np.arange(len(labels)), rows)
