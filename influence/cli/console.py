"""What commands print: a line is a line, and a text from a run is a text, never what a terminal or rich obeys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import typer

from influence.errors import printable


def say(line: object, err: bool = False, colour: str | None = None) -> None:
    """Print a line; `err`: on standard error."""
    typer.secho(printable(str(line)), err=err, fg=colour)


def say_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], padding: tuple[int, int, int, int] = (0, 1, 0, 1)
) -> None:
    """Print a table, each of its cells as text."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, header_style="bold", padding=padding)
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    Console().print(table)
