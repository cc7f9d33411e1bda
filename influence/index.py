"""Training examples' gradients kept on disk, so that a new query is answered without the training data.

What is kept of an example are the factors of its gradient (a linear layer's input and what came back to its output)
or the gradient where that is smaller, in float32, or in bfloat16 where that would be large. A new query is pulled
back through the stages and solved as always; one matrix product with the index then gives its scores. The error,
which is that of rounding, is measured when the index is made.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from influence.attribution import Scores, check_options, report_of, usable
from influence.chain import Chain
from influence.curvature import Method, method_named
from influence.derivatives import Objective
from influence.derivatives.factors import Dense, Factor, Outer, Rows
from influence.derivatives.first import Watch, dots
from influence.errors import RunError
from influence.progress import Progress
from influence.study import Study, check_dataset

SHARD = 4096
"""Examples in a file."""
LARGE = 2**28
"""Bytes beyond which an index is kept in bfloat16."""
PROBES = 512
"""Examples on which the error is measured."""
FORMAT = 1


class Index:
    """The gradients of a stage's training examples in a folder, and the solvers of the stages after it.

    Made where there is none; opened where there is one of the same stage, model and data; continued where one was
    interrupted.

    Args:
        study: its queries serve to measure the index's error; new ones are given to `query`.
        folder: of the index.
        stage: whose training examples to keep, by name; default the first (pretraining).
        method, damping, curvature, device, progress, options: as in `attribute`.

    Attributes:
        error: largest relative error |found - exact| / |exact| of the probed queries' scores.
        bytes: on disk.

    Raises:
        RunError: the folder holds another index, a damaged one, or something else.
        StudyError, LossError, MethodError, CurvatureError: as `attribute`.
    """

    def __init__(
        self,
        study: Study,
        folder: str | Path,
        *,
        stage: str | None = None,
        method: str = "cg",
        damping: float | None = None,
        curvature: str = "ggn",
        device: torch.device | str | None = None,
        progress: bool = True,
        **options: Any,
    ):
        chosen, self.method = method_named(method), method
        check_options(chosen.__init__, method, options)
        place = next(study.stages[-1].model.parameters()).device if device is None else usable(device)

        def solver(objective: Objective) -> Method:
            return chosen(objective, damping=damping, curvature=curvature, **options)

        self.folder = Path(folder)
        with Progress(visible=progress) as bars:
            with bars.step(f"Curvature ({method})"):
                self.chain = Chain(study, study.position(stage), solver, device=place)
            self.objective = self.chain.objectives[0]
            self.dtype = self._checked_folder()
            with bars.step(f"Index of {self.objective.stage.name}", total=self.objective.count) as bar:
                files = [self._shard(start, bar.advance) for start in range(0, self.objective.count, SHARD)]
        self._shards = [(_span(file), _load(file)) for file in files]
        self.bytes = sum(file.stat().st_size for file in files)
        self.error = self._measured_error()

    def query(self, queries: Any) -> Scores:
        """Scores of new queries, a dataset of the last stage's form, without reading the training data.

        Returns:
            `Scores` (n_queries, n_examples); the report has `index_error` and, in seconds, `gradient_and_solve` and
            `product`.
        """
        check_dataset(queries, "queries")
        started = time.perf_counter()
        solved = self._solved(queries)
        solve = time.perf_counter() - started
        values = self.scores(solved)
        times = {"gradient_and_solve": solve, "product": time.perf_counter() - started - solve}
        report = report_of(self.chain, self.method) | {"index_error": self.error} | times
        return Scores(values.cpu().numpy(), self.objective.stage.name, report)

    def scores(self, solved: Tensor) -> Tensor:
        """Of queries pulled back to the stage and solved there, (Q, T) -> (Q, m), nats, positive = helpful."""
        layout = self.objective.trained
        found = torch.zeros(self.objective.count, len(solved), device=self.objective.device)
        for span, shard in self._shards:
            for name, several in shard.items():
                for factor in several:
                    _add_dots(found[span], factor, solved[:, layout.slices[name]])
        return found.T / self.objective.count

    def _solved(self, queries: Any) -> Tensor:
        *_, (_, solved) = self.chain.pull_back(self.chain.query_gradients(queries))
        return solved

    def _checked_folder(self) -> torch.dtype:
        """Make the folder, or make sure that it is one of this index: the type of the numbers in it."""
        wanted = {"format": FORMAT, "stage": self.objective.stage.name, "of": _fingerprint(self.objective)}
        note = self.folder / "index.json"
        if note.is_file():
            try:
                there = json.loads(note.read_text())
                dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[there.pop("dtype")]
            except (ValueError, LookupError, AttributeError, TypeError) as error:
                raise RunError(f"Index {self.folder} is damaged: {note} is not what it was. Delete it.") from error
            if there != wanted:
                raise RunError(
                    f"Index {self.folder} is of another stage, model or data, or of another format. Choose another "
                    "folder, or delete it."
                )
            return dtype
        if self.folder.exists() and any(self.folder.iterdir()):
            raise RunError(f"Folder {self.folder} is not empty and holds no index. Choose another folder.")
        self.folder.mkdir(parents=True, exist_ok=True)
        dtype = torch.bfloat16 if self._expected_bytes() > LARGE else torch.float32
        note.write_text(json.dumps(wanted | {"dtype": str(dtype).removeprefix("torch.")}))
        return dtype

    def _expected_bytes(self) -> float:
        """In float32, from one batch."""
        positions, batch = next(self.objective.batches(self.objective.stage.data))
        factors = Watch(self.objective, self.objective.trained).factors(batch, positions.stop)
        kept = [
            tensor for several in factors.values() for f in several for _, tensor in _parts_of(_small(f, torch.float32))
        ]
        return sum(tensor.nbytes for tensor in kept) * self.objective.count / positions.stop

    def _shard(self, start: int, advance: Callable[[float], None]) -> Path:
        """The file of the examples from `start` on, made unless it is there."""
        stop = min(start + SHARD, self.objective.count)
        file = self.folder / f"{start:09d}-{stop:09d}.safetensors"
        if not file.is_file():
            free, needed = shutil.disk_usage(self.folder).free, 0
            watch, parts = Watch(self.objective, self.objective.trained), []
            for positions, batch in self.objective.batches(self.objective.stage.data, start):
                count = min(positions.stop, stop) - positions.start
                factors = watch.factors(batch, positions.stop - positions.start)
                parts.append({n: [_small(f[:count], self.dtype) for f in several] for n, several in factors.items()})
                if positions.stop >= stop:
                    break
            tensors = _tensors(parts)
            needed = sum(t.nbytes for t in tensors.values())
            if needed > free:
                raise RunError(f"Index {self.folder} needs {needed:,} bytes more, but only {free:,} are free.")
            unfinished = file.with_suffix(".unfinished")
            safetensors.torch.save_file(tensors, unfinished)
            unfinished.replace(file)
        advance(stop - start)
        return file

    def _measured_error(self) -> float:
        """Against the gradients themselves: worst of some queries, on some examples."""
        some = torch.utils.data.Subset(self.chain.study.queries, range(min(8, len(self.chain.study.queries))))
        solved = self._solved(some)
        count = min(PROBES, self.objective.count)
        probes = torch.utils.data.Subset(self.objective.stage.data, range(count))
        exact = torch.cat([block for _, block in dots(self.objective, probes, self.objective.trained, solved)]).T
        found = self.scores(solved)[:, :count] * self.objective.count
        error = (found - exact).norm(dim=1) / exact.norm(dim=1).clamp(min=torch.finfo(exact.dtype).tiny)
        return float(error.max())


def _span(file: Path) -> slice:
    start, stop = file.stem.split("-")
    return slice(int(start), int(stop))


def _fingerprint(objective: Objective) -> str:
    """Of the trained parameters and of what the model makes of the first and last examples."""
    digest = hashlib.sha256(f"{objective.count} {list(objective.trained.shapes)}".encode())
    digest.update(objective.all.flatten(objective.parameters).double().cpu().numpy().tobytes())
    ends = torch.utils.data.Subset(objective.stage.data, sorted({0, objective.count // 2, objective.count - 1}))
    losses = objective.checked_losses(ends)
    digest.update(np.round(losses.double().numpy(), 4).tobytes())
    return digest.hexdigest()


def _small(factor: Factor, dtype: torch.dtype) -> Factor:
    """In another type, and formed where that takes less than the parts."""
    if isinstance(factor, Rows) and factor.values[0].numel() < factor.shape[1]:
        return Rows(factor.index, factor.values.to(dtype), factor.count)
    if isinstance(factor, Outer) and factor.left[0].numel() + factor.right[0].numel() < factor.shape[1]:
        return Outer(factor.left.to(dtype).contiguous(), factor.right.to(dtype).contiguous())
    return Dense(factor.gradients().to(dtype))


def _tensors(parts: list[dict[str, list[Factor]]]) -> dict[str, Tensor]:
    """Named after kind and parameter, the batches joined."""
    found: dict[str, list[Tensor]] = {}
    for batch in parts:
        for name, several in batch.items():
            for i, factor in enumerate(several):
                for kind, tensor in _parts_of(factor):
                    found.setdefault(f"{kind}|{i}|{name}", []).append(tensor)
    return {key: torch.cat(tensors).cpu().contiguous() for key, tensors in found.items()}


def _parts_of(factor: Factor) -> Iterator[tuple[str, Tensor]]:
    if isinstance(factor, Outer):
        yield from (("left", factor.left), ("right", factor.right))
    elif isinstance(factor, Rows):
        yield from ((f"index{factor.count}", factor.index), ("values", factor.values))
    else:
        yield "formed", factor.gradients()


def _load(file: Path) -> dict[str, list[Factor]]:
    """The factors of one file, mapped into memory."""
    try:
        tensors = safetensors.torch.load_file(file)
    except (SafetensorError, OSError) as error:
        raise RunError(f"Index file {file} is damaged ({error}). Delete it: it is made again.") from error
    found: dict[str, list[Factor]] = {}
    for key in sorted(tensors):
        kind, number, name = key.split("|", 2)
        if kind == "left":
            factor: Factor = Outer(tensors[key], tensors[f"right|{number}|{name}"])
        elif kind.startswith("index"):
            factor = Rows(tensors[key], tensors[f"values|{number}|{name}"], int(kind.removeprefix("index")))
        elif kind == "formed":
            factor = Dense(tensors[key])
        else:
            continue
        found.setdefault(name, []).append(factor)
    return found


def _add_dots(scores: Tensor, factor: Factor, vectors: Tensor) -> None:
    """As `Factor.add_dots`, with the factor in the type in which it is kept and the sum in float32."""
    device = scores.device
    if isinstance(factor, Dense):
        rows = factor.gradients().to(device)
        scores += (rows @ vectors.to(rows.dtype).T).float()
    elif isinstance(factor, Outer) and factor.groups == factor.positions == 1:
        left, right = factor.left[:, 0, 0].to(device), factor.right[:, 0, 0].to(device)
        for q, vector in enumerate(vectors.to(right.dtype)):
            scores[:, q] += ((right @ vector.view(factor.sides).T).float() * left.float()).sum(1)
    elif isinstance(factor, Outer):
        Outer(factor.left.to(device).float(), factor.right.to(device).float()).add_dots(scores, vectors.float())
    elif isinstance(factor, Rows):
        Rows(factor.index.to(device), factor.values.to(device).float(), factor.count).add_dots(scores, vectors.float())
