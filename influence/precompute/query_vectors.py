"""The solved queries of an unfinished run, as memory-mapped files: they may be larger than memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from influence.derivatives import Objective
from influence.derivatives.first.gradients import without_specks


class QueryVectors:
    """Vectors (Q, T) of one stage over its trained parameters, a file a parameter.

    Args:
        folder: of these vectors alone.
        objective: the stage's.
        count: Q.
    """

    def __init__(self, folder: Path, objective: Objective, count: int):
        self.folder, self.layout, self.count = folder, objective.trained, count
        self.dtype, self.device = objective.sum_dtype, objective.device

    def create(self) -> None:
        """Files to be filled by `write`, whatever there was before."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for name in self.layout.shapes:
            self._file(name, "w+")

    def write(self, rows: slice, vectors: Tensor) -> None:
        """Some of the queries' vectors, (rows, T)."""
        found = without_specks(vectors.detach().to(self.dtype)).cpu().numpy()
        for name, place in self.layout.slices.items():
            file = self._file(name, "r+")
            file[rows] = found[:, place]
            file.flush()

    def mapped(self) -> dict[str, Tensor]:
        """By parameter, (Q, size) each, on the CPU read from the files as they are used."""
        return {n: torch.from_numpy(self._file(n, "r+")).to(self.device) for n in self.layout.shapes}

    def row(self, query: int) -> Tensor:
        """One query's vector, (T,)."""
        return torch.cat([torch.from_numpy(np.array(self._file(n, "r")[query])) for n in self.layout.shapes])

    def _file(self, name: str, mode: str) -> np.memmap:
        number, kind = list(self.layout.shapes).index(name), torch.empty(0, dtype=self.dtype).numpy().dtype
        shape = (self.count, self.layout.shapes[name].numel())
        return np.memmap(self.folder / f"{number}.{kind}", kind, mode, shape=shape)  # type: ignore[call-overload]
