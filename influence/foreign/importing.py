"""Scores of another tool become a run, that holds tables and scores but no models."""

from __future__ import annotations

import datetime
import platform
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import zarr

from influence.errors import RunError, ScoresError, printable
from influence.foreign.matrix import EXAMPLES, LARGER, QUERIES, SMALLER, Matrix
from influence.foreign.scores import read_scores
from influence.foreign.tables import read_table, refuse_unknown
from influence.run.draft import Draft
from influence.run.files import NAME, STAGE_NAME, examples_file, refuse_name
from influence.run.reading import Run
from influence.run.records import ORDER_ONLY, Manifest, MapRecord, ScoreRecord, StageRecord
from influence.version import VERSION

STAGE = "training"
"""Name of the stage, if none is given."""
METHOD = "imported"
"""Name of the method, where neither the form nor a person says whose scores they are."""

USUAL = ("scores", "pairwise_scores")
"""Names that say nothing of what the scores are of: their folder's is put before."""


@dataclass(frozen=True)
class Request:
    """What is to be imported.

    Attributes:
        scores: a file, or a folder as a tool writes it.
        examples: table of the training examples, a file or a folder of pictures.
        queries: table of the queries.
        stage: name of the training that the examples are of.
        method: what computed the scores; "": as the form says.
        rows: `QUERIES` or `EXAMPLES`: what the rows of the scores are; None: by form and shape.
        helpful: `LARGER` or `SMALLER`: which scores are helpful; None: as the form says, else larger ones.
        keys: tensors of a .safetensors file, which are summed.
        columns: names of columns of the tables that are called otherwise, by what they hold.
    """

    scores: Path
    examples: Path
    queries: Path
    stage: str = STAGE
    method: str = ""
    rows: str | None = None
    helpful: str | None = None
    keys: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)


def name_of(scores: Path) -> str:
    """A run's name made of the name of its scores."""
    path = scores.resolve()
    words = f"{path.parent.name}-{path.stem}" if path.stem in USUAL else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip("-._")[:100] or METHOD


def import_scores(request: Request, root: Path, name: str) -> Run:
    """The run called `name` in folder `root`, of scores that another tool computed.

    They are read and written a block of rows at a time. Where anything is not in order, nothing is left behind.

    Raises:
        ScoresError: the scores are of no known form, do not fit the tables, or are not finite.
        StudyError: a table cannot be read.
        RunError: there is a run of that name, or it cannot be written.
    """
    refuse_name(name, "a run's")
    for what, given, form in (("stage", request.stage, STAGE_NAME), ("method", request.method or METHOD, NAME)):
        if not form.fullmatch(given):
            raise ScoresError(f"--{what} is {given!r}: use letters, digits, '_' and '-', at most 50.")
    if (root / name).exists():
        raise RunError(f"There is a run {name} in {root} already. Choose another name with --name, or delete it.")
    files = {EXAMPLES: request.examples, QUERIES: request.queries}
    refuse_unknown(list(files.values()), request.columns)
    tables = {kind: read_table(path, request.columns) for kind, path in files.items()}
    ids = {kind: table["id"].tolist() for kind, table in tables.items()}
    file = printable(request.scores)
    found = read_scores(request.scores, request.keys, ids[QUERIES], ids[EXAMPLES])
    matrix = found.oriented(file, len(ids[QUERIES]), len(ids[EXAMPLES]), request.rows)
    if matrix.ids is not None:
        _refuse_other_order(file, list(matrix.ids), ids[matrix.rows])
    draft = Draft(root, name, {"imported": str(request.scores.resolve())})
    try:
        with draft.locked():
            return _written(draft, request, matrix, tables)
    except BaseException:
        if not draft.finished:
            shutil.rmtree(draft.folder, ignore_errors=True)
        raise


def _written(draft: Draft, request: Request, matrix: Matrix, tables: dict[str, pd.DataFrame]) -> Run:
    queries, examples = tables[QUERIES], tables[EXAMPLES]
    draft.write_table(QUERIES, queries)
    draft.write_table(examples_file(request.stage).removesuffix(".parquet"), examples)
    method = request.method or NAME_OF.get(matrix.tool, METHOD)
    sign = request.helpful or matrix.helpful or LARGER
    file, array = draft.create_scores(request.stage, method, (len(queries), len(examples)))
    vanished = fill(array, matrix, sign, printable(request.scores), queries["id"].tolist(), examples["id"].tolist())
    whose = matrix.tool or request.method or "another tool"
    unit = f"The scores were computed by {whose} and imported: their size is no change of the loss in nats."
    warnings = [unit]
    if vanished:
        warnings.append(f"{vanished:,} scores are too small for 32 bits, and stand as 0.")
    if request.helpful is None:
        warnings += matrix.doubts
    notes = [f"{SIGNS[sign]} of {printable(request.scores.name)} were taken for helpful.", *matrix.notes]
    manifest = Manifest(
        study=printable(request.scores.name),
        variant="",
        title=f"Scores of {whose}: {len(queries):,} queries, {len(examples):,} examples",
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        default_method=method,
        stages=(StageRecord(request.stage, examples=len(examples)),),
        scores=(ScoreRecord(request.stage, method, file, {"unit": ORDER_ONLY, "order_only": [unit]}),),
        map=MapRecord(),
        imported={"tool": matrix.tool, "scores": printable(request.scores.name), "helpful": sign},
        summary=f"Scores that {whose} computed, imported with the examples and queries that they are about.",
        unit=ORDER_ONLY,
        measure="as the tool that computed the scores was told",
        versions={"upstream-explorer": VERSION, "numpy": np.__version__, "zarr": zarr.__version__,
                  "python": platform.python_version()},
        warnings=tuple(warnings),
        notes=tuple(notes),
    )  # fmt: skip
    return draft.finish(manifest)


NAME_OF = {"bergson": "bergson", "kronfluence": "kronfluence", "TRAK": "trak", "dattri-LLM": "dattri-llm"}
"""Tool -> name of its method in the run."""
SIGNS = {LARGER: "Larger scores", SMALLER: "Smaller scores"}


def fill(array: zarr.Array, matrix: Matrix, helpful: str, name: str, queries: list[int], examples: list[int]) -> int:
    """Write a matrix into a run's array (queries, examples), in blocks of whole chunks; positive = helpful.

    Returns:
        How many scores are too small for 32 bits.

    Raises:
        ScoresError: one is not finite, or too large; it is named by its query and example.
    """
    by_query = matrix.rows == QUERIES
    height, at, vanished = array.chunks[0 if by_query else 1], 0, 0
    for raw in matrix.blocks(height):
        with np.errstate(over="ignore", under="ignore"):
            block = raw.astype(np.float32)
        if not np.isfinite(block).all():
            row, column = (int(place) for place in np.argwhere(~np.isfinite(block))[0])
            pair = (at + row, column) if by_query else (column, at + row)
            raise ScoresError(
                f"{name}: the score of query {queries[pair[0]]} and example {examples[pair[1]]} (row {at + row:,}, "
                f"column {column:,}) is {raw[row, column]}, expected a finite number"
                + (" of 32 bits." if np.isfinite(raw[row, column]) else ".")
            )
        vanished += int(((block == 0) & (raw != 0)).sum())
        if helpful == SMALLER:
            np.negative(block, out=block)
        rows = slice(at, at + len(block))
        array[(rows, slice(None)) if by_query else (slice(None), rows)] = block if by_query else block.T
        at += len(block)
    if at != matrix.shape[0]:
        raise ScoresError(f"{name} holds {at:,} rows, where it says {matrix.shape[0]:,}. Is it whole?")
    return vanished


def _refuse_other_order(name: str, given: list[int], table: list[int]) -> None:
    """Raise ScoresError unless the rows of the scores are named as those of the table."""
    for row, (one, other) in enumerate(zip(given, table, strict=True)):
        if one != other:
            raise ScoresError(
                f"{name}: row {row:,} is of id {one}, the table has {other} there. Bring both into one order."
            )
