"""`upstream import`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import influence.foreign
from influence.cli.console import say
from influence.cli.options import DEFAULT_RUNS, Runs, told

COLUMNS = ("id", "text", "label", "image")
"""What the columns hold that may be named."""


class Rows(StrEnum):
    """What the rows of a matrix are."""

    queries = "queries"
    examples = "examples"


class Helpful(StrEnum):
    """Which scores are helpful."""

    larger = "larger"
    smaller = "smaller"


def import_scores(
    scores: Annotated[
        Path,
        typer.Argument(
            metavar="SCORES",
            help="A file (.npy, .safetensors, .pt, .parquet, .jsonl), or a folder as bergson, kronfluence or "
            "dattri-LLM writes it.",
        ),
    ],
    examples: Annotated[
        Path,
        typer.Option(
            "--examples",
            metavar="TABLE",
            help="The training examples, in the order of the scores: .csv, .tsv, .jsonl, .parquet, .txt, or a folder "
            "of pictures.",
        ),
    ],
    queries: Annotated[Path, typer.Option("--queries", metavar="TABLE", help="The queries, in the same way.")],
    stage: Annotated[str, typer.Option("--stage", help="Name of the training that the examples are of.")] = "training",
    name: Annotated[str | None, typer.Option("--name", help="Of the run; default the name of SCORES.")] = None,
    method: Annotated[str, typer.Option("--method", help="Name of what computed the scores.")] = "",
    helpful: Annotated[
        Helpful | None,
        typer.Option("--helpful", help="Which scores are helpful; default larger, or what SCORES says."),
    ] = None,
    rows: Annotated[
        Rows | None,
        typer.Option("--rows", help="What the rows of SCORES are, where there are as many queries as examples."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="NAME", help="A tensor of SCORES (.safetensors); several are summed."),
    ] = None,
    id_column: Annotated[str | None, typer.Option("--id-column", metavar="NAME", help="Default id, if there.")] = None,
    text_column: Annotated[
        str | None, typer.Option("--text-column", metavar="NAME", help="Default text, if there.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option("--label-column", metavar="NAME", help="Default label, if there.")
    ] = None,
    image_column: Annotated[
        str | None, typer.Option("--image-column", metavar="NAME", help="Of paths or bytes; default image, if there.")
    ] = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Make a run of scores that another tool computed, to look at in the explorer.

    A run of another tool's scores has no models and no unit: the order of a query's scores is all that counts.
    """
    named = dict(zip(COLUMNS, (id_column, text_column, label_column, image_column), strict=True))
    request = influence.foreign.Request(
        scores,
        examples,
        queries,
        stage,
        method,
        rows.value if rows else None,
        helpful.value if helpful else None,
        tuple(key or ()),
        {kind: column for kind, column in named.items() if column is not None},
    )
    run = influence.foreign.import_scores(request, runs, name or influence.foreign.name_of(scores))
    counts = f"{len(run.queries()):,} queries, {run.stage(stage).examples:,} examples"
    say(f"{run.path}: {counts}. Open it with `upstream explore {run.name}`.")
    for line in [*run.manifest.notes, *told(run)]:
        say(line)
