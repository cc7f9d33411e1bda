"""The solved queries of an unfinished run, in files that are mapped into memory: they may be larger than it.

They are written as other files are: a full disk is an error then, where a map of a file with holes ends the process.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from influence.derivatives import Objective
from influence.derivatives.first.gradients import without_specks
from influence.run.plain import writing


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
        """Files to be filled by `write`, in any order of the queries, whatever there was before."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with writing(self.folder):
            self.folder.mkdir(parents=True)
            for name in self.layout.shapes:
                self._path(name).touch()

    def write(self, rows: slice, vectors: Tensor) -> None:
        """Some of the queries' vectors, (rows, T), in the order of the queries.

        Raises:
            RunError: the disk is full.
        """
        found = without_specks(vectors.detach().to(self.dtype)).cpu().numpy()
        for name, place in self.layout.slices.items():
            part = np.ascontiguousarray(found[:, place])
            with writing(self._path(name)), self._path(name).open("r+b") as file:
                file.seek(rows.start * part[:1].nbytes)
                file.write(part.data)
                file.flush()
                os.fsync(file.fileno())

    def sha256(self, rows: slice) -> str:
        """Of what `write` wrote for some of the queries; of something else if it is no longer there."""
        found = hashlib.sha256()
        for name, shape in self.layout.shapes.items():
            width = shape.numel() * self._kind.itemsize
            with self._path(name).open("rb") as file:
                file.seek(rows.start * width)
                found.update(file.read((rows.stop - rows.start) * width))
        return found.hexdigest()

    def mapped(self) -> dict[str, Tensor]:
        """By parameter, (Q, size) each, on the CPU read from the files as they are used."""
        return {name: torch.from_numpy(self._file(name)).to(self.device) for name in self.layout.shapes}

    def row(self, query: int) -> Tensor:
        """One query's vector, (T,)."""
        return torch.cat([torch.from_numpy(np.array(self._file(name)[query])) for name in self.layout.shapes])

    def _file(self, name: str) -> np.memmap:
        shape = (self.count, self.layout.shapes[name].numel())
        return np.memmap(self._path(name), self._kind, "c", shape=shape)

    def _path(self, name: str) -> Path:
        return self.folder / f"{list(self.layout.shapes).index(name)}.{self._kind}"

    @property
    def _kind(self) -> np.dtype:
        return torch.empty(0, dtype=self.dtype).numpy().dtype
