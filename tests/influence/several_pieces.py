"""A study whose runs are computed in several pieces of every kind; and what of a run is the same in every process."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import Stage, Study
from influence.studies.exhibit import Exhibit

EXAMPLES, QUERIES = 9000, 260
TIMES = ("run.json", "journal.jsonl")
"""Files that hold when a run was computed, and how long it took."""


def wide_net(classes: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(classes)
        return nn.Sequential(nn.Linear(4, 300), nn.Tanh(), nn.Linear(300, classes))


def loss(outputs, batch):
    return cross_entropy(outputs, batch[1], reduction="none")


def drawn(count: int, classes: int, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=generator)
    return TensorDataset(x, torch.randint(classes, (count,), generator=generator))


def large_exhibit() -> Exhibit:
    """Two stages that nobody trains: three spans of examples of the first, two blocks of queries."""
    first, second = wide_net(2), wide_net(3)
    second[0].load_state_dict(first[0].state_dict())
    stages = [
        Stage("pretrain", first, loss, drawn(EXAMPLES, 2, 1), l2=0.02),
        Stage("finetune", second, loss, drawn(50, 3, 2), l2=0.02, frozen=["0.*"]),
    ]
    return Exhibit(Study("large", stages, drawn(QUERIES, 3, 3)), method="ekfac")


def computed_files(run) -> dict[str, str]:
    """File of a run -> its hash."""
    return {name: found for name, found in run.manifest.files.items() if name not in TIMES}
