"""How `upstream query` prints an explanation: as a table, as text, as CSV or as JSON."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

import influence.run
from influence.cli.console import say, say_table
from influence.errors import printable

if TYPE_CHECKING:
    import pandas as pd

SHOWN_CHARACTERS = 100
"""Characters of a text in a terminal; CSV and JSON have the whole."""


class Form(StrEnum):
    """How an explanation is printed."""

    table = "table"
    text = "text"
    csv = "csv"
    json = "json"


class Explanation(NamedTuple):
    """What is printed: what was asked, in words and by name; its strongest examples; what there is to know of them."""

    says: dict[str, Any]
    rows: pd.DataFrame
    units: dict[str, str]
    warnings: list[str]


def print_explanation(explanation: Explanation, form: Form) -> None:
    if form is Form.json:
        rows = explanation.rows.astype(object).where(explanation.rows.notna(), None).to_dict("records")
        told = {
            "query": explanation.says,
            "units": explanation.units,
            "warnings": explanation.warnings,
            "examples": rows,
        }
        typer.echo(json.dumps(told, indent=1, default=plain))
        return
    for warning in explanation.warnings:
        say(f"Warning: {warning}", err=True, colour="yellow")
    for stage, unit in explanation.units.items():
        size = "nats, positive = helpful" if unit == influence.run.NAT else "order only: their size means nothing"
        say(f"Scores of {stage}: {size}.", err=True)
    if form is Form.csv:
        typer.echo(influence.run.as_csv(explanation.rows), nl=False)
        return
    say(" · ".join(f"{name} {_short(value)}" for name, value in explanation.says.items()))
    columns = [str(name) for name in explanation.rows if name not in ("stage", "kind")]
    for name, part in explanation.rows.groupby(["stage", "kind"], sort=False):
        say(f"{', '.join(map(str, name))}:")
        cells = [[_short(value) for value in row] for row in part[columns].itertuples(index=False)]
        if form is Form.table:
            say_table(columns, cells)
        else:
            for line in cells:
                say("\t".join(line))


def _short(value: Any) -> str:
    """A value in a terminal: on one line, cut short."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = printable(" ".join(str(value).split()))
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"


def plain(value: Any) -> Any:
    """A number of NumPy's as Python's, which JSON knows; what is not a number as null."""
    plain = value.item() if hasattr(value, "item") else value
    return None if plain != plain else plain
