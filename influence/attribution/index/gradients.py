"""The per-example gradients of a stage in a folder: computed once, shard by shard, then read for every product."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from influence.attribution.index.packed import Packed, directions, from_tensors, is_wide, packed, tensors_of
from influence.attribution.products.dots import dots
from influence.derivatives import Objective
from influence.derivatives.first.factors import Factor
from influence.derivatives.first.watch import Watch
from influence.derivatives.losses import checked_losses
from influence.errors import RunError
from influence.run.files import checksum, write_json
from influence.run.plain import replacement, sweep, writing

SHARD_EXAMPLES = 4096
"""Examples in a file."""
MAX_FLOAT32_BYTES = 2**28
"""Bytes above which gradients are stored in bfloat16, and wide outputs projected to fewer dimensions."""
PROBE_EXAMPLES = 512
"""Examples that the error is measured on, and that the main directions of wide outputs come from."""
NOTE = "index.json"
"""What the index is of, and the checksums of its finished files."""
FORMAT = 5
"""Version of the files; folders of another version are refused."""


class Gradients:
    """The gradients of all training examples of a stage, in a folder.

    An empty folder is filled. A folder with gradients of the same stage, model and data is opened, and completed if
    filling it was interrupted.

    Args:
        objective: the stage's.
        folder: where the files are.
        advance: progress; called with the number of examples of each finished shard.

    Attributes:
        bytes: size on disk.

    Raises:
        RunError: the folder holds gradients of something else, damaged or unrelated files; or the disk is too full.
    """

    def __init__(self, objective: Objective, folder: Path, advance: Callable[[float], None] = lambda _: None):
        self.objective, self.folder = objective, folder
        self._checksums: dict[str, str] = {}
        self.dtype = self._checked_folder()
        self.bases = self._found_bases()
        files = [self._shard(start, advance) for start in range(0, objective.count, SHARD_EXAMPLES)]
        self._shards = [(_span(file), list(from_tensors(self._load(file), self.bases))) for file in files]
        self.bytes = sum(file.stat().st_size for file in files)

    def dots(self, solved: Tensor) -> Tensor:
        """Dot products (m, Q) of every example's gradient with vectors (Q, T)."""
        slices = self.objective.trained.slices
        found = torch.zeros(self.objective.count, len(solved), device=self.objective.device)
        for span, shard in self._shards:
            for name, each in shard:
                each.add_dots(found[span], solved[:, slices[name]])
        return found

    def error(self, solved: Tensor) -> float:
        """Largest relative error |found - exact| / |exact| of a vector's products, measured on `probe_subset`."""
        probes = probe_subset(self.objective)
        exact = torch.cat([block for _, block in dots(self.objective, probes, self.objective.trained, solved)])
        found = self.dots(solved)[list(probes.indices)]
        lengths = exact.norm(dim=0).clamp(min=torch.finfo(exact.dtype).tiny)
        return float(((found - exact).norm(dim=0) / lengths).max())

    def _checked_folder(self) -> torch.dtype:
        """Make the folder, or check that it holds these gradients. Returns the dtype that they are stored in."""
        wanted = {"format": FORMAT, "stage": self.objective.stage.name, "of": _fingerprint(self.objective)}
        note = self.folder / NOTE
        if note.is_file():
            try:
                there = json.loads(note.read_text())
                found, self._checksums = there.pop("dtype"), dict(there.pop("files", {}))
                dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[found]
            except (ValueError, LookupError, AttributeError, TypeError) as error:
                raise RunError(f"Index {self.folder} is damaged: {note} is not what it was. Delete it.") from error
            if there != wanted:
                raise RunError(
                    f"Index {self.folder} is of another stage, model or data, or of another format. Choose another "
                    "folder, or delete it."
                )
            sweep(self.folder)
            return dtype
        if self.folder.exists() and any(self.folder.iterdir()):
            raise RunError(f"Folder {self.folder} is not empty and holds no index. Choose another folder.")
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        dtype = torch.bfloat16 if expected_bytes(self.objective) > MAX_FLOAT32_BYTES else torch.float32
        write_json(note, wanted | {"dtype": str(dtype).removeprefix("torch."), "files": {}})
        return dtype

    def _found_bases(self) -> dict[str, Tensor]:
        """Main directions of wide outputs, read from the folder, or computed and saved there."""
        if self.dtype == torch.float32:
            return {}
        file = self.folder / "directions.safetensors"
        if not self._is_there(file):
            watch = Watch(self.objective, self.objective.trained)
            batches = self.objective.batches(probe_subset(self.objective))
            self._save(directions(watch.factors(batch, place.stop - place.start) for place, batch in batches), file)
        return self._load(file)

    def _shard(self, start: int, advance: Callable[[float], None]) -> Path:
        """The file of the shard that begins at example `start`; computed if it is missing."""
        stop = min(start + SHARD_EXAMPLES, self.objective.count)
        file = self.folder / f"{start:09d}-{stop:09d}.safetensors"
        if not self._is_there(file):
            watch, parts, starts = Watch(self.objective, self.objective.trained), [], []
            for positions, batch in self.objective.batches(self.objective.stage.data, start):
                count = min(positions.stop, stop) - positions.start
                factors = watch.factors(batch, positions.stop - positions.start)
                some = {name: [each[:count] for each in several] for name, several in factors.items()}
                parts.append(_packed(some, self.dtype, self.bases))
                starts.append(positions.start - start)
                if positions.stop >= stop:
                    break
            self._save(tensors_of(parts, starts), file)
        advance(stop - start)
        return file

    def _is_there(self, file: Path) -> bool:
        """Whether a file was written to its end: only then the note has its checksum."""
        return file.name in self._checksums and file.is_file()

    def _save(self, tensors: Mapping[str, Tensor], file: Path) -> None:
        """Write a file; its checksum is noted once it is on the disk."""
        needed, free = sum(tensor.nbytes for tensor in tensors.values()), shutil.disk_usage(file.parent).free
        if needed > free:
            raise RunError(
                f"Index {file.parent} needs {needed:,} bytes more, but only {free:,} are free. Free some space, or "
                "choose another folder."
            )
        with replacement(file) as new:
            safetensors.torch.save_file(dict(tensors), new)
        self._checksums[file.name] = checksum(file)
        note = self.folder / NOTE
        write_json(note, json.loads(note.read_text()) | {"files": self._checksums})

    def _load(self, file: Path) -> dict[str, Tensor]:
        """One file's tensors, mapped into memory.

        Raises:
            RunError: it is not what was written.
        """
        try:
            if checksum(file) != self._checksums[file.name]:
                raise OSError("it has other contents than when it was written")
            return safetensors.torch.load_file(file)
        except (SafetensorError, OSError) as error:
            raise RunError(f"Index file {file} is damaged ({error}). Delete it: it is made again.") from error


def probe_subset(objective: Objective) -> torch.utils.data.Subset[object]:
    """`PROBE_EXAMPLES` examples, evenly spaced over the data, which may be sorted (by length, say)."""
    return torch.utils.data.Subset(
        objective.stage.data, range(0, objective.count, max(1, objective.count // PROBE_EXAMPLES))
    )


def expected_bytes(objective: Objective) -> float:
    """Bytes of a stage's gradients in float32, estimated from `probe_subset`."""
    watch, total, some = Watch(objective, objective.trained), 0, probe_subset(objective)
    for positions, batch in objective.batches(some):
        found = _packed(watch.factors(batch, positions.stop - positions.start), torch.float32, {})
        total += sum(tensor.nbytes for tensor in tensors_of([found], [0]).values())
    return total * objective.count / len(some)


def _packed(
    factors: Mapping[str, list[Factor]], dtype: torch.dtype, bases: Mapping[str, Tensor]
) -> dict[str, list[Packed]]:
    def basis(number: int, name: str, factor: Factor) -> Tensor | None:
        return bases.get(f"{number}|{name}") if is_wide(factor) else None

    return {
        name: [packed(each, dtype, basis(number, name, each)) for number, each in enumerate(several)]
        for name, several in factors.items()
    }


def _span(file: Path) -> slice:
    start, stop = file.stem.split("-")
    return slice(int(start), int(stop))


def _fingerprint(objective: Objective) -> str:
    """Hash of the parameters and of the losses of the first, middle and last example."""
    digest = hashlib.sha256(f"{objective.count} {list(objective.trained.shapes)}".encode())
    digest.update(objective.all.flatten(objective.parameters).double().cpu().numpy().tobytes())
    ends = torch.utils.data.Subset(objective.stage.data, sorted({0, objective.count // 2, objective.count - 1}))
    losses = checked_losses(objective, ends)
    digest.update(np.round(losses.double().numpy(), 4).tobytes())
    return digest.hexdigest()
