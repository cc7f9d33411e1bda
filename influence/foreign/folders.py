"""Folders of scores as other tools leave them: bergson, kronfluence, dattri-LLM."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from influence.errors import ScoresError, printable
from influence.foreign.arrays import PAIRWISE, safetensors_matrix, torch_matrix
from influence.foreign.matrix import EXAMPLES, LARGER, SMALLER, Matrix, float32
from influence.run.plain import parsed_json, read_plain

BERGSON, BERGSON_INFO, BERGSON_TOKENS = "scores.bin", "info.json", "token_scores.bin"
DATTRI, DATTRI_INFO = "scores.pt", "metadata.json"
LARGEST_INFO = 2**27
"""Bytes of a JSON file that is read; bergson's names every column."""
NUMBERS = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
"""bergson's kinds of numbers -> their bytes."""
SIGN = re.compile(r"^\s*higher_is_better:\s*(true|false)\s*$", re.MULTILINE)
"""What bergson's config.yaml says of the sign of the scores beside it."""


def folder_matrix(folder: Path) -> Matrix:
    """The scores in a folder that a tool wrote.

    Raises:
        ScoresError: it is no folder of a known form, or damaged.
    """
    if (folder / BERGSON).is_file():
        return _bergson(folder)
    if (folder / BERGSON_TOKENS).is_file():
        raise ScoresError(
            f"{printable(folder)} holds bergson's scores of single tokens. Sum them over each text's tokens and save "
            "the sums as .npy, or let bergson score whole texts."
        )
    pairs = sorted(folder.glob(f"{PAIRWISE}*.safetensors"))
    if len(pairs) == 1:
        return safetensors_matrix(pairs[0])
    if len(pairs) > 1:
        raise ScoresError(
            f"{printable(folder)} holds {len(pairs):,} files of kronfluence's scores, parts of a whole. Let "
            "kronfluence put them together (load_pairwise_scores), or give one of them."
        )
    if (folder / DATTRI).is_file() and (folder / DATTRI_INFO).is_file():
        return _dattri(folder)
    raise ScoresError(
        f"Folder {printable(folder)} holds no scores of a form that is known: bergson's {BERGSON} with {BERGSON_INFO}, "
        f"kronfluence's {PAIRWISE}.safetensors, dattri-LLM's {DATTRI} with {DATTRI_INFO}. Give the file of the scores."
    )


def _bergson(folder: Path) -> Matrix:
    """A record for each example: for each query a number, and whether it was written."""
    info = _told(folder / BERGSON_INFO)
    file, name = folder / BERGSON, printable(folder / BERGSON)
    sizes: list[Any] = [info.get(key) for key in ("num_items", "num_scores")]
    items, queries = sizes
    if not all(type(size) is int and 0 < size < 2**40 for size in (items, queries)):
        raise ScoresError(
            f"{printable(folder / BERGSON_INFO)} says num_items {items!r} and num_scores {queries!r}, expected whole "
            "numbers above 0."
        )
    kind, size, places = _layout(folder, info.get("dtype"), queries)
    if file.stat().st_size != items * size:
        raise ScoresError(
            f"{name} has {file.stat().st_size:,} bytes, expected {items * size:,} of {items:,} examples and "
            f"{queries:,} queries. Is it whole?"
        )
    bytes_of_a_number = NUMBERS[kind]

    def blocks(height: int) -> Iterator[np.ndarray]:
        code = "<u2" if kind == "bfloat16" else f"<f{bytes_of_a_number}"
        for start in range(0, items, height):
            read = np.array(np.memmap(file, np.uint8, "r", shape=(items, size))[start : start + height])
            block = np.empty((len(read), queries), np.float64 if kind == "float64" else np.float32)
            for column, (at, written) in enumerate(places):
                if written is not None and not read[:, written].all():
                    row = start + int((read[:, written] == 0).argmax())
                    raise ScoresError(
                        f"{name}: the score of example {row:,} and query {column:,} was not written. Let "
                        "bergson finish."
                    )
                number = np.ascontiguousarray(read[:, at : at + bytes_of_a_number]).view(code)[:, 0]
                block[:, column] = float32(number, kind)
            yield block

    sign, doubts = _bergson_sign(folder)
    return Matrix((items, queries), blocks, EXAMPLES, sign, "bergson", doubts=doubts)


def _layout(folder: Path, told: Any, queries: int) -> tuple[str, int, list[tuple[int, int | None]]]:
    """(kind of number, bytes of an example, for each query where its number and its mark lie), as info.json says.

    Only offsets are taken from the file, and only ones within the record: nothing else can be named there.
    """
    if isinstance(told, str) and told in NUMBERS:  # a plain matrix
        return told, NUMBERS[told] * queries, [(NUMBERS[told] * column, None) for column in range(queries)]
    try:
        place = dict(zip(told["names"], zip(told["formats"], told["offsets"], strict=True), strict=True))
        kinds = {str(place[f"score_{column}"][0]) for column in range(queries)}
        (kind,), size = kinds, int(told["itemsize"])
        places = [(int(place[f"score_{i}"][1]), int(place[f"written_{i}"][1])) for i in range(queries)]
        if not 0 < size < 2**31 or any(
            not 0 <= at <= size - NUMBERS[kind] or not 0 <= mark < size for at, mark in places
        ):
            raise ValueError("a place lies outside the record")
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ScoresError(
            f"{printable(folder / BERGSON_INFO)} does not say how the scores lie in {BERGSON} "
            f"({printable(str(error))}). Was it written by another version of bergson? Save the scores as .npy."
        ) from error
    return kind, size, list(places)


def _bergson_sign(folder: Path) -> tuple[str, tuple[str, ...]]:
    """Which scores are helpful by config.yaml, and what is to be said where it does not tell."""
    config = folder / "config.yaml"
    said = set(SIGN.findall(read_plain(config, LARGEST_INFO).decode(errors="replace"))) if config.is_file() else set()
    if len(said) == 1:
        return (LARGER if said == {"true"} else SMALLER), ()
    return "", (
        "bergson's config.yaml does not say whether larger scores are helpful: they were taken to be, as those of its "
        "influence functions are. Those of MAGIC are the other way round (--helpful smaller).",
    )


def _dattri(folder: Path) -> Matrix:
    """Rows are examples at steps of training; each example has to have one."""
    info = _told(folder / DATTRI_INFO)
    rows, examples = info.get("num_rows"), info.get("num_train")
    if rows != examples:
        raise ScoresError(
            f"{printable(folder)} holds {rows!r} rows for {examples!r} examples: dattri-LLM's scores of single steps. "
            "Sum them (AttributionScore.agnostic_matrix) and save the sums as .npy."
        )
    found = torch_matrix(folder / DATTRI)
    notes = ("The rows of the examples' table were taken to be in the order of dattri-LLM's row_train_ids.",)
    return Matrix(found.shape, found.blocks, EXAMPLES, "", "dattri-LLM", notes=notes)


def _told(file: Path) -> dict[str, Any]:
    try:
        told = parsed_json(read_plain(file, LARGEST_INFO))
    except (OSError, ValueError) as error:
        raise ScoresError(f"{printable(file)} cannot be read: {printable(str(error))}.") from error
    if not isinstance(told, dict):
        raise ScoresError(f"{printable(file)} holds no object. Is it of the tool that wrote the scores?")
    return told
