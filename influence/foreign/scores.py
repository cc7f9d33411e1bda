"""Scores of another tool: their form is known by what a file holds and how it is called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from influence.errors import ScoresError, printable
from influence.foreign.arrays import is_numpy, numpy_matrix, safetensors_matrix, torch_matrix
from influence.foreign.folders import folder_matrix
from influence.foreign.listed import json_matrix, parquet_matrix
from influence.foreign.matrix import Matrix

KNOWN = ".npy, .mmap, .safetensors, .pt, .parquet, .jsonl, or a folder as bergson, kronfluence or dattri-LLM writes it"
ARRAYS = {".npy": numpy_matrix, ".pt": torch_matrix, ".pth": torch_matrix, ".bin": torch_matrix}
LISTS = {".parquet": parquet_matrix, ".jsonl": json_matrix, ".ndjson": json_matrix}
PACKED = (".npz", ".zip", ".gz", ".zst", ".bz2", ".xz", ".tar")


def read_scores(path: Path, keys: Sequence[str], queries: Sequence[int], examples: Sequence[int]) -> Matrix:
    """The scores in a file or folder; what is large is not read yet.

    Args:
        path: of the file or folder.
        keys: of safetensors: the tensors that are summed; none: as the file says.
        queries: ids of the queries, by which lists of pairs name them.
        examples: ids of the examples.

    Raises:
        ScoresError: it is not there, of no known form, or not in order.
    """
    name = printable(path)
    if keys and path.suffix.lower() != ".safetensors":
        raise ScoresError(f"--key names a tensor of a .safetensors file; {name} is none.")
    try:
        if path.is_dir():
            return folder_matrix(path)
        if not path.is_file():
            what = "is no file" if path.exists() else "does not exist"
            raise ScoresError(f"{name} {what}; expected scores: {KNOWN}.")
        if path.stat().st_size == 0:
            raise ScoresError(f"{name} is empty; expected scores.")
        suffix = ".npy" if is_numpy(path) else path.suffix.lower()
        if suffix == ".safetensors":
            return safetensors_matrix(path, keys)
        if suffix in LISTS:
            return LISTS[suffix](path, queries, examples)
        if suffix in ARRAYS:
            return ARRAYS[suffix](path)
    except OSError as error:
        raise ScoresError(f"{name} cannot be read: {error.strerror or error}.") from error
    packed = "Packed files are not opened: save the array by itself (np.save). " if suffix in PACKED else ""
    raise ScoresError(f"{name} is of no form that is known. {packed}Expected {KNOWN}.")
