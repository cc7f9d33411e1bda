"""Votes of rules that each see a part of a digit: taken back, and the wrong ones found, for `edits.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from leave_one_out import agreement
from rich.console import Console
from rich.table import Table
from sklearn.metrics import average_precision_score
from torch import nn
from torch.nn.functional import avg_pool2d, cross_entropy, one_hot
from torch.utils.data import TensorDataset

from influence import Stage, Study, Votes, attribute, vote_scores
from influence.studies.shipped import shipped_file
from influence.training import Retrainer, fit_stage

OPTIONS: dict[str, Any] = {"method": "exact", "progress": False}
CLASSES, EXAMPLES, QUERIES, KNOWN = 4, 600, 300, 40
SURE = 0.15
"""A rule abstains where its second class is less than this share farther than its first."""


def loss(outputs: torch.Tensor, batch: Any) -> torch.Tensor:
    return cross_entropy(outputs, batch[1], reduction="none")


def table_of(x: np.ndarray, known: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Votes (n, rules) on digits (n, 14, 14): the nearest class mean of a part of them, -1 where that is unsure."""
    parts = [(slice(a, a + 7), slice(b, b + 7)) for a in (0, 7) for b in (0, 7)] + [(slice(4, 10), slice(4, 10))]
    votes = []
    for rows, columns in parts:
        means = np.stack([known[labels == c][:, rows, columns].mean(0) for c in range(CLASSES)])
        far = np.linalg.norm(x[:, None, rows, columns] - means, axis=(2, 3))
        near = np.sort(far, axis=1)
        votes.append(np.where(near[:, 1] < (1 + SURE) * near[:, 0], -1, far.argmin(1)))
    return np.stack(votes, axis=1)


def print_votes(seed: int, count: int, console: Console) -> None:
    """How votes taken back are predicted, and how well the wrong ones are found beside whole examples' scores."""
    with np.load(shipped_file("digits/mnist_5k.npz"), allow_pickle=False) as file:
        images, labels = torch.from_numpy(file["X"])[:, None], file["y"].astype(np.int64)
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.flatnonzero(labels < CLASSES))[: KNOWN + EXAMPLES + QUERIES]
    x, y = avg_pool2d(images[order].double(), 2)[:, 0].numpy(), labels[order]
    x = x / x.max()
    table = table_of(x[KNOWN:-QUERIES], x[:KNOWN], y[:KNOWN])
    voted = np.flatnonzero((table >= 0).any(1))
    votes, truth = Votes(table[voted], CLASSES), y[KNOWN:-QUERIES][voted]
    flat = torch.from_numpy(x).flatten(1)
    data = TensorDataset(flat[KNOWN:-QUERIES][voted], torch.from_numpy(votes.labels))
    queries = TensorDataset(flat[-QUERIES:], one_hot(torch.from_numpy(y[-QUERIES:]), CLASSES).double())
    stage = Stage("votes", nn.Linear(flat.shape[1], CLASSES).double(), loss, data, l2=0.01)
    fit_stage(stage, None)
    study = Study("votes", [stage], queries)
    found = vote_scores(study, votes, **OPTIONS).values
    given = np.argwhere(votes.table >= 0)
    agreeing = votes.labels[given[:, 0], votes.table[given[:, 0], given[:, 1]]]
    some = rng.permutation(given[agreeing < 1])[:count]  # of one voice, a vote taken back changes nothing
    retrainer = Retrainer(study)
    base = retrainer.retrain().losses
    really = [
        retrainer.retrain(edits=votes.take_back("votes", int(rule), [int(row)])).losses - base for row, rule in some
    ]
    r, slope = agreement(found[:, some[:, 0], some[:, 1]].T, np.stack(really))
    wrong = votes.table[given[:, 0], given[:, 1]] != truth[given[:, 0]]
    whole = attribute(study, **OPTIONS).values.mean(0)[given[:, 0]]
    finders = {
        "harm of the vote": -found.mean(0)[given[:, 0], given[:, 1]],
        "harm of its example": -whole,
        "other rules disagree": -agreeing,
        "chance": rng.random(len(given)),
    }
    shown = Table("wrong votes found by", "average precision")
    for name, values in finders.items():
        shown.add_row(name, f"{average_precision_score(wrong, values):.2f}")
    console.print(shown)
    console.print(
        f"{votes.table.shape[1]} rules, {len(given):,} votes on {len(voted)} digits, {wrong.mean():.0%} wrong; {count} "
        f"votes taken back alone, predicted and trained again: r {r}, slope {slope} over {QUERIES} queries"
    )
