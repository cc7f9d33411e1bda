"""Edits of a table, judged by the gap between two groups: scikit-learn's diabetes data, for `edits.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from leave_one_out import agreement
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_diabetes
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import Stage, Study, edit_scores, edits, targets
from influence.study.edits import Edit
from influence.study.targets import Target
from influence.training import Retrainer, fit_stage

OPTIONS: dict[str, Any] = {"method": "exact", "curvature": "hessian", "progress": False}
PRETRAINING, FINETUNING, POOL = 230, 60, 40
SEX = 1
"""Column of the table, of two values."""
BEST = 0.05
"""Share of the examples whose best edits are made together."""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 6), nn.Tanh())
        self.head = nn.Linear(6, 2)
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def loss(outputs: torch.Tensor, batch: Any) -> torch.Tensor:
    return cross_entropy(outputs, batch[1], reduction="none")


class Groups:
    """A study of whether the disease progressed more than the median, its pool, and the gap between the sexes.

    The gap is that of the mean probability of progress, over the queries of either sex.
    """

    def __init__(self, seed: int):
        found = load_diabetes()
        order = np.random.default_rng(seed).permutation(len(found.target))
        x = torch.from_numpy(found.data[order] / found.data.std(0))
        y = torch.from_numpy((found.target > np.median(found.target)).astype(np.int64)[order])
        torch.manual_seed(seed)
        ends = np.cumsum([PRETRAINING, FINETUNING, POOL])
        parts = [TensorDataset(x[a:b], y[a:b]) for a, b in zip([0, *ends], [*ends, len(x)], strict=True)]
        stages = [
            Stage("pretrain", Net(), loss, parts[0], l2=0.1),
            Stage("finetune", Net(), loss, parts[1], l2=0.1, frozen=["body.*"]),
        ]
        self.study, self.pool = Study("diabetes", stages, parts[3]), parts[2]
        for previous, stage in self.study.pairs():
            fit_stage(stage, previous)
        one = self.study.queries.tensors[0][:, SEX] > 0
        self.groups = [np.flatnonzero(one).tolist(), np.flatnonzero(~one).tolist()]
        self.retrainer = Retrainer(self.study)
        self.gap = self._gap(self.retrainer.retrain().parameters)

    @property
    def target(self) -> Target:
        return targets.gap(*self.groups, of=1)

    def measured(self, some: Edit | Sequence[Edit]) -> float:
        """Change of the gap by training again with edits."""
        return self._gap(self.retrainer.retrain(edits=some).parameters) - self.gap

    def _gap(self, parameters: Any) -> float:
        model = self.retrainer.study_at(parameters).stages[-1].model
        with torch.no_grad():
            p = model(self.study.queries.tensors[0]).softmax(1)[:, 1]
        return float(p[self.groups[0]].mean() - p[self.groups[1]].mean())

    def kinds(self) -> dict[str, tuple[int, Callable[[int], Edit]]]:
        """Name -> (how many there are, the edit of this kind of one example)."""
        labels = self.study.stages[0].data.tensors[1]
        return {
            "leave out": (PRETRAINING, lambda row: edits.leave_out("pretrain", [row])),
            "relabel": (PRETRAINING, lambda row: edits.relabel("pretrain", [row], [1 - int(labels[row])])),
            "add": (POOL, lambda row: edits.add("pretrain", [self.pool[row]])),
        }


def print_gaps(seed: int, count: tuple[int, int], console: Console) -> None:
    """A row for each kind of edit: single ones, and the best twentieth of them made together beside random ones."""
    strongest, random = count
    groups, rng = Groups(seed), np.random.default_rng(seed)
    sign = np.sign(groups.gap)
    table = Table("edit of one patient", "r random", "slope", "r strongest", "slope", "best 5 %", "random 5 %")
    for kind, (number, edit) in groups.kinds().items():
        every = [edit(row) for row in range(number)]
        scores = edit_scores(groups.study, every, targets=[groups.target], **OPTIONS).values[0]
        top = np.argsort(-np.abs(scores))[:strongest]
        some = rng.choice(number, min(random, number), replace=False)
        pairs = [(scores[rows], np.array([groups.measured(every[row]) for row in rows])) for rows in (some, top)]
        closing, size = np.argsort(sign * scores), max(1, round(BEST * PRETRAINING))
        best = groups.measured([every[row] for row in closing[:size]])
        draws = [groups.measured([every[row] for row in rng.choice(number, size, replace=False)]) for _ in range(5)]
        ends = f"{sign * best:+.3f}", f"{sign * np.mean(draws):+.3f} ({np.std(draws):.3f})"
        table.add_row(kind, *agreement(*pairs[0]), *agreement(*pairs[1]), *ends)
    console.print(table)
    console.print(
        f"The gap between the sexes in the mean probability of progress is {groups.gap:+.3f} over "
        f"{len(groups.study.queries)} patients. r over single edits of {PRETRAINING} pretraining patients; its change, "
        "against its sign, by the best 5 % of edits made together; mean (standard deviation) of five random draws."
    )
