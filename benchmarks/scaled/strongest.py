"""A run that keeps all scores beside one that keeps the strongest: time, memory, disk, and how soon a view is there."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from influence.attribution.report import peak_memory
from influence.precompute import steps
from influence.precompute.runs import precompute
from influence.run import Run, StageScores
from influence.run.plain import bytes_in
from scaled.runs import exhibit

READ = 20
"""Queries whose lists, histogram and totals are read."""


@dataclass(frozen=True)
class Taken:
    """What one form took: seconds of scoring a stage and of all, bytes beyond torch's, on disk, seconds to read."""

    scoring: float
    whole: float
    memory: int
    disk: int
    first: float
    other: float


def strongest(
    counts: Sequence[int], queries: int, forms: Sequence[str], threads: int, console: Console, apart: bool = True
) -> None:
    """Print what both forms, or one, took for so many examples; `apart`: a process each, for its memory."""
    columns = (
        "examples",
        "keeps",
        "scoring, an example",
        "times the first",
        "whole run",
        "memory beyond torch",
        "disk",
        "a list",
        "another",
    )
    table = Table(*columns, title=f"{queries:,} queries, {threads} threads")
    for count in counts:
        whole = None
        for form in forms:
            if apart:
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    taken = pool.submit(_taken, count, queries, form, threads).result()
            else:
                taken = _taken(count, queries, form, threads)
            whole = whole or taken
            table.add_row(
                f"{count:,}", form, f"{1e3 * taken.scoring / count:.3f} ms", f"{taken.scoring / whole.scoring:.2f}",
                f"{taken.whole:,.0f} s",
                f"{taken.memory / 1e9:.2f} GB", f"{taken.disk / 1e9:.3f} GB", f"{1e3 * taken.first:.0f} ms",
                f"{1e3 * taken.other:.0f} ms",
            )  # fmt: skip
    console.print(table)


def _taken(count: int, queries: int, keep: str, threads: int) -> Taken:
    torch.set_num_threads(threads)
    torch.ones(64, 64) @ torch.ones(64, 64)
    before = peak_memory()
    # The map takes long, and as long in both where it is of all examples.
    steps.map_of = _two_coordinates
    with tempfile.TemporaryDirectory() as folder:
        made = replace(exhibit(count, queries), keep=keep)
        (run,) = precompute([made], ["run"], Path(folder), progress=False)
        memory, disk = peak_memory() - before, bytes_in(run.path)
        first, *others = [_read(Run(run.path, run.manifest), query) for query in range(min(READ, queries))]
        scoring = sum(s for name, s in run.manifest.timings.items() if name.startswith("scoring pretrain"))
        return Taken(scoring, sum(run.manifest.timings.values()), memory, disk, first, float(np.median(others)))


def _read(run: Run, query: int) -> float:
    began = time.perf_counter()
    scores = StageScores(run, run.stages[0], run.methods(run.stages[0])[0])
    scores.lists(query, 20)
    scores.histogram(query, 41)
    scores.row(query)
    return time.perf_counter() - began


def _two_coordinates(vectors: np.ndarray, others: np.ndarray, seed: int) -> Any:
    return vectors[:, :2], others[:, :2], "two coordinates"
