"""Arrays of scores in one file, mapped and not read: NumPy, safetensors, PyTorch. Nothing is unpickled."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from influence.errors import ScoresError, listed, printable
from influence.foreign.matrix import EXAMPLES, QUERIES, Matrix, of_array, shape_error

NUMPY_MAGIC = b"\x93NUMPY"
ALL_MODULES = "all_modules"
"""kronfluence's key of scores that are not split by module."""
PAIRWISE = "pairwise_scores"
"""What kronfluence calls a file of scores of pairs."""


def is_numpy(path: Path) -> bool:
    """Whether a file is NumPy's, whatever its name: TRAK calls those `.mmap`."""
    with path.open("rb") as file:
        return file.read(len(NUMPY_MAGIC)) == NUMPY_MAGIC


def numpy_matrix(path: Path) -> Matrix:
    """An array in NumPy's format. TRAK's (`.mmap`) have a row for each example.

    Raises:
        ScoresError: it holds Python objects, is cut short, or is no matrix of real numbers.
    """
    name = printable(path)
    mapped = partial(np.lib.format.open_memmap, path, mode="r")
    try:
        array = mapped()
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        if "object" in str(error).lower():
            raise ScoresError(
                f"{name} holds Python objects, which are never unpickled here. Save the scores as an array of floats: "
                "np.save(FILE, np.asarray(scores, np.float32))."
            ) from error
        raise unreadable(name, error) from error
    trak = path.suffix.lower() == ".mmap"
    return of_array(array, name, mapped, rows=EXAMPLES if trak else "", tool="TRAK" if trak else "")


def torch_matrix(path: Path) -> Matrix:
    """A tensor that `torch.save` wrote; read with `weights_only`, mapped from the file.

    Raises:
        ScoresError: it is none, or holds anything else.
    """
    import torch  # only here: everything else is read without it

    name = printable(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, OSError, EOFError, KeyError) as error:
        raise ScoresError(
            f"{name} is no tensor that can be read without running what it holds. Save the scores as a tensor: "
            "torch.save(scores, FILE), or as safetensors."
        ) from error
    if not isinstance(found, torch.Tensor):
        raise ScoresError(f"{name} holds a {type(found).__name__}, expected one tensor of scores.")
    return _of_tensors(name, [found], found.shape)


def safetensors_matrix(path: Path, keys: Sequence[str] = ()) -> Matrix:
    """Scores in safetensors. kronfluence's have a row for each query, and may be split by module: those are summed.

    Args:
        path: of the file.
        keys: names of the tensors, which are summed; none: the only one, kronfluence's `all_modules`, or all modules of
            a file that it wrote.

    Raises:
        ScoresError: it is damaged, has no such tensor, several of which it is not clear which, or of other shapes.
    """
    import safetensors

    name, kronfluence = printable(path), path.name.startswith(PAIRWISE)
    try:
        file = safetensors.safe_open(path, framework="pt")
        there = list(file.keys())
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise unreadable(name, error) from error
    if missing := [key for key in keys if key not in there]:
        raise ScoresError(f"{name} has no tensor {missing[0]!r}; it has {listed(map(repr, there))}.")
    chosen = list(keys) or ([ALL_MODULES] if ALL_MODULES in there else there)
    if not chosen:
        raise ScoresError(f"{name} holds no tensor; expected scores.")
    if len(chosen) > 1 and not keys and not kronfluence:
        raise ScoresError(
            f"{name} holds {len(there):,} tensors: {listed(map(repr, there))}. Say which are the scores with --key "
            "NAME; several, such as those of single modules, are summed."
        )
    slices = [file.get_slice(key) for key in chosen]
    shapes = [tuple(each.get_shape()) for each in slices]
    if other := [key for key, shape in zip(chosen, shapes, strict=True) if shape != shapes[0]]:
        raise ScoresError(f"{name}: tensors {chosen[0]!r} and {other[0]!r} have other shapes, and make no sum.")
    kronfluence = kronfluence or chosen == [ALL_MODULES]
    known: dict[str, Any] = {"rows": QUERIES, "tool": "kronfluence"} if kronfluence else {}
    notes = (f"Scores of {len(chosen):,} modules were summed.",) if len(chosen) > 1 else ()
    return _of_tensors(name, slices, shapes[0], notes=notes, **known)


def _of_tensors(name: str, parts: Sequence[Any], shape: Sequence[int], **known: Any) -> Matrix:
    """The sum of tensors, or of slices of a file, of one shape; one of one dimension is a row."""
    sizes = (1, *shape) if len(shape) == 1 else tuple(shape)
    if len(sizes) != 2 or 0 in sizes:
        raise shape_error(name, shape)

    def blocks(height: int) -> Iterator[np.ndarray]:
        for start in range(0, sizes[0], height):
            read = [part[start : start + height] if len(shape) == 2 else part[:][None] for part in parts]
            if any(each.is_complex() for each in read):
                raise ScoresError(f"{name} holds complex numbers, expected real ones.")
            long = len(read) > 1 or read[0].element_size() == 8
            wide = [each.double() if long else each.float() for each in read]
            yield sum(wide[1:], wide[0]).numpy()

    return Matrix((int(sizes[0]), int(sizes[1])), blocks, **known)


def unreadable(name: str, error: object) -> ScoresError:
    """The error of a file that is damaged."""
    return ScoresError(f"{name} cannot be read: {printable(str(error))}. Is it whole? Write it again.")
