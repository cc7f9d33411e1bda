"""Files of weights: looked at before anything long begins, and read tensor by tensor."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from influence.errors import StudyError, listed, printable

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
ADAPTER = ("adapter_model.safetensors", "adapter_model.bin")
POINTER = b"version https://git-lfs"
"""How a file of Git LFS begins whose content was not fetched."""
PARTIAL = (".incomplete", ".part", ".crdownload", ".aria2")
HALVES = {"F16": "float16", "BF16": "bfloat16"}
FLOATS = {"F32", "F64", *HALVES}
CONVERT = (
    "convert it where it was made and is trusted, by "
    "`safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')`, or `torch.save(model.state_dict(), ...)`"
)


class SafeTensors(Mapping[str, Tensor]):
    """The tensors of safetensors files, each read when it is asked for.

    Args:
        paths: one file, or all shards of a model.

    Raises:
        StudyError: a file is missing, half downloaded, or no safetensors.
    """

    def __init__(self, paths: Sequence[Path]):
        self._files: dict[str, Any] = {}
        for path in paths:
            refuse_partial(path)
            try:
                file = safe_open(path, "pt")
            except (OSError, SafetensorError) as error:
                raise StudyError(
                    f"{printable(path)} cannot be read as safetensors ({printable(str(error))}); it has "
                    f"{path.stat().st_size:,} bytes. It is damaged or was not downloaded to its end: fetch it again."
                ) from error
            self._files |= dict.fromkeys(file.keys(), file)

    def __getitem__(self, name: str) -> Tensor:
        return self._files[name].get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def kind(self, name: str) -> str:
        """The dtype as safetensors writes it: F32, BF16, I8 ..."""
        return str(self._files[name].get_slice(name).get_dtype())

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._files[name].get_slice(name).get_shape())


def files_in(folder: Path) -> list[Path]:
    """The files of a saved model's weights: one, or the shards that its index names.

    Raises:
        StudyError: there are none, or not all of them.
    """
    for name in (WHOLE, INDEX, *PICKLED, *ADAPTER):
        path = folder / name
        if path.exists():
            return shards(path) if name.endswith(".json") else [path]
    there = sorted(printable(entry.name) for entry in folder.iterdir())
    partial = [name for name in there if name.endswith(PARTIAL)]
    raise StudyError(
        f"Folder {printable(folder)} holds no weights ({WHOLE} or {INDEX}); it has {listed(there) or 'no files'}. "
        + (f"{partial[0]} was not downloaded to its end: fetch it again." if partial else "Save the model there.")
    )


def shards(index: Path) -> list[Path]:
    """The files that an index names.

    Raises:
        StudyError: it is no index, or files are missing.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(
            f"{printable(index)} is no index of shards ({printable(repr(error))}), expected JSON with `weight_map`. "
            "Save the model again."
        ) from error
    if any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise StudyError(f"{printable(index)} names files outside of its folder: {listed(map(str, names))}.")
    missing = [name for name in names if not (index.parent / name).exists()]
    if missing:
        raise StudyError(
            f"{printable(index)} names {len(names)} files, of which {len(missing)} are missing: {listed(missing)}. "
            "Fetch them too."
        )
    return [index.parent / name for name in names]


def refuse_partial(path: Path) -> None:
    """Raise StudyError unless there is a file, whose content was fetched."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise StudyError(f"Weights {printable(path)}: it {what}, expected a file.")
    try:
        with path.open("rb") as file:
            start = file.read(len(POINTER))
    except OSError as error:
        raise StudyError(f"Weights {printable(path)} cannot be read: {error.strerror}.") from error
    if start == POINTER:
        raise StudyError(
            f"{printable(path)} is a pointer of Git LFS, not the weights. Fetch them by `git lfs pull` in its folder."
        )
    if not start or path.name.endswith(PARTIAL):
        raise StudyError(f"{printable(path)} was not downloaded to its end. Fetch it again.")


def unpickled(path: Path) -> Any:
    """What a `.pt`, `.pth` or `.bin` file holds, read with `weights_only`: no code of the file is run.

    Raises:
        StudyError: it holds more than tensors and plain containers, or is damaged.
    """
    refuse_partial(path)
    try:
        whole = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=whole)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path) or b"PROTO" not in str(error).encode():
            reason = printable(next((line for line in str(error).splitlines() if "GLOBAL" in line), "")).strip()
            raise StudyError(
                f"{printable(path)} is a pickle with more than tensors{f' ({reason})' if reason else ''}, such as a "
                f"whole module, which could run code and is not read: {CONVERT}."
            ) from error
        raise _damaged(path, error) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> StudyError:
    return StudyError(
        f"{printable(path)} cannot be read as weights of PyTorch ({printable(str(error).splitlines()[0][:200])}). It "
        f"is damaged or not downloaded to its end: fetch it again, or {CONVERT}."
    )


def refuse_quantised(path: Path, kinds: Mapping[str, str]) -> None:
    """Raise StudyError if weights are in 8 bits or fewer. `kinds`: name -> dtype as safetensors writes it."""
    for name, kind in kinds.items():
        few = kind.startswith("F") and kind not in FLOATS
        packed = kind in ("I8", "U8", "I32") and ("weight" in name.rpartition(".")[2] or ".weight." in name)
        if few or packed:
            raise StudyError(
                f"{printable(path)} is quantised: {printable(name)} is stored as {kind}, of which the weights that "
                "were trained cannot be had back. Give the checkpoint in float32, float16 or bfloat16 that it was "
                "made of."
            )


def conversion(kinds: Mapping[str, str]) -> list[str]:
    """A note on dtypes that are converted to float32; none if there are no such."""
    other = sorted({{**HALVES, "F64": "float64"}.get(kind, "") for kind in kinds.values()} - {""})
    if not other:
        return []
    digits = " Its values have few digits, so that small differences between checkpoints are rounding."
    return [f"Stored as {listed(other)}, computed in float32.{digits if set(other) - {'float64'} else ''}"]


def kinds_of(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Name -> dtype as safetensors writes it."""
    if isinstance(tensors, SafeTensors):
        return {name: tensors.kind(name) for name in tensors}
    return {name: _kind(tensor.dtype) for name, tensor in tensors.items()}


def _kind(dtype: torch.dtype) -> str:
    known = {torch.bfloat16: "BF16", torch.bool: "BOOL", torch.uint8: "U8"}
    name = str(dtype).removeprefix("torch.")
    if dtype in known:
        return known[dtype]
    if dtype.is_complex:
        return "C64"
    return name.replace("float", "F").replace("int", "I").upper()
