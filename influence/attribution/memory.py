"""Memory of scoring: an estimate before it begins, and smaller batches where memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import psutil
import torch

from influence.curvature.cards import EXACT
from influence.derivatives.objective import BATCH, ran_out_of_memory
from influence.errors import MethodError
from influence.study.parameters import size_of
from influence.study.study import Study

VECTOR_COPIES = 3
"""Copies of the queries' vectors that exist at once: gradients, solutions, and pulled-back gradients."""
COPIES_TO_FIRST = 2
"""The same where only those of the first stage are kept, as in `attribute`."""
QUERY_BYTES = 5 * 2**29
"""Bytes that the queries' vectors may take: of more, so many queries are asked at a time, a pass over the data each."""
MAX_HALVINGS = BATCH.bit_length() - 1
"""Halvings of the batch size, down to one example."""

Found = TypeVar("Found")


def bytes_held(study: Study, first: int, method: str, at_once: int | None = None) -> dict[str, int]:
    """Estimated bytes for scoring all queries, `at_once` at a time, against the stage at position `first`, by purpose.

    Not counted are the intermediate results of a batch, and the curvature that a method stores, except for the matrix
    of "exact".
    """
    stages, queries = study.stages, len(study.queries)
    widest = matrix = 0
    for previous, stage in study.pairs():
        if stage in stages[first:]:
            size = size_of(stage, previous)
            widest = max(widest, size.whole * size.itemsize)
            if method == EXACT.name:
                matrix = max(matrix, 8 * size.trained * min(size.trained, len(stage.data)))
    copies = COPIES_TO_FIRST * min(queries, at_once) if at_once else VECTOR_COPIES * queries
    return {
        "the queries' vectors": copies * widest,
        "the scores": 4 * queries * len(stages[first].data),
        "the curvature": matrix,
    }


def queries_at_once(study: Study, first: int) -> int:
    """Queries whose vectors fit `QUERY_BYTES`, at least 1, in blocks of the same size up to one."""
    widest = max(of.whole * of.itemsize for of in [size_of(stage, before) for before, stage in study.pairs()][first:])
    fit, count = max(1, QUERY_BYTES // (COPIES_TO_FIRST * widest)), len(study.queries)
    return -(-count // -(-count // fit))


def refuse_what_is_too_much(held: dict[str, int], device: torch.device) -> None:
    """Raise MethodError if the machine or the device has less memory than the estimate `held`."""
    there = psutil.virtual_memory().total
    if device.type == "cuda":
        there = torch.cuda.get_device_properties(device).total_memory
    needed = sum(held.values())
    if needed > there:
        raise MethodError(
            f"This needs {size(needed)} of memory ({described(held)}), and there are {size(there)}. Ask fewer queries "
            "at a time, or let `upstream precompute` keep vectors and scores on disk."
        )


def described(held: dict[str, int]) -> str:
    """The estimate in words: purpose and size."""
    return ", ".join(f"{what} {size(count)}" for what, count in held.items() if count)


def with_smaller_batches(compute: Callable[[int], Found]) -> Found:
    """The result of `compute(halvings)`, called with 0, 1, 2 ... until memory suffices.

    Raises:
        MethodError: memory runs out even with one example at a time.
    """
    for halvings in range(MAX_HALVINGS + 1):
        try:
            return compute(halvings)
        except (RuntimeError, MemoryError) as error:
            if not (isinstance(error, MemoryError) or ran_out_of_memory(error)):
                raise
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
        # Outside of the handler, since the error's frames still hold the tensors.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    raise MethodError(
        f"Memory ran out even with one example at a time ({said}). Ask fewer queries at a time, take another method "
        "(`upstream methods` says what each needs), or another device."
    )


def size(count: float) -> str:
    """A number of bytes in words: 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
