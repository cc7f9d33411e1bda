"""A run computed by one process, and by the workers of a Ray cluster on this machine: how long, and whether equal."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import Exhibit, Stage, Study
from influence.engine import OnRay
from influence.precompute.runs import precompute
from influence.run.reading import Run

NUMBERS, WIDTH = 128, 256
"""Of an example; of the two hidden layers, which make about 100,000 parameters."""
SHARED = ("eigenvalues of", "scoring", "self-influence of")
"""Steps that are computed in pieces of examples. Pulling back is shared out in blocks of 256 queries."""


def shared_out(examples: int, queries: int, keep: str, console: Console) -> None:
    """Print what a run took that keeps such scores, with one thread a process."""
    table = Table(
        "computed by", "shared steps", "times one process", "whole run", "times one process", "equal",
        title=f"a run of {examples:,} examples and {queries:,} queries that keeps {keep}",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for workers in (0, 1, 2):
            engine = OnRay(workers=workers) if workers else "here"
            (run,) = precompute([exhibit(examples, queries)], [f"by-{workers}"], Path(folder), engine=engine, keep=keep)
            runs.append(run)
            steps, whole = zip(*map(_seconds, runs), strict=True)
            shared, every = f"{steps[0] / steps[-1]:.2f}", f"{whole[0] / whole[-1]:.2f}"
            who = f"{workers} worker{'s'[: workers > 1]}" if workers else "this process"
            equal = str(run.manifest.files == runs[0].manifest.files)
            table.add_row(who, f"{steps[-1]:.1f} s", shared, f"{whole[-1]:.1f} s", every, equal)
    console.print(table)


def _seconds(run: Run) -> tuple[float, float]:
    """Of the steps that are shared out, and of all but the map, which is the driver's and takes as long in both."""
    timings = {name: seconds for name, seconds in run.manifest.timings.items() if not name.startswith("map")}
    return sum(s for name, s in timings.items() if name.startswith(SHARED)), sum(timings.values())


def exhibit(examples: int, queries: int) -> Exhibit:
    """Drawn examples; a network that nobody trained, as scoring takes as long whatever its parameters are."""
    first, second = _network(10), _network(5)
    for layer in (0, 2):
        second[layer].load_state_dict(first[layer].state_dict())
    stages = [
        Stage("pretrain", first, _loss, _drawn(examples, 10, 1), l2=1e-3),
        Stage("finetune", second, _loss, _drawn(500, 5, 2), l2=1e-3, frozen=["0.*", "2.*"]),
    ]
    return Exhibit(Study("scale", stages, _drawn(queries, 5, 3)), method="ekfac")


def _network(classes: int) -> nn.Sequential:
    torch.manual_seed(classes)
    layers = nn.Linear(NUMBERS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, classes)
    return nn.Sequential(*layers)


def _loss(outputs: torch.Tensor, batch: list[torch.Tensor]) -> torch.Tensor:
    return cross_entropy(outputs, batch[1], reduction="none")


def _drawn(count: int, classes: int, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(
        torch.randn(count, NUMBERS, generator=generator), torch.randint(classes, (count,), generator=generator)
    )
