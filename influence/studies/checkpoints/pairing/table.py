"""The table of a correspondence: a line a module, or a line for all numbered modules of one kind."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from influence.errors import printable


class Row(NamedTuple):
    """A parameter: `size` entries, `what` it is, and how far it `moved` as a share of its origin's norm."""

    name: str
    size: int
    what: str
    moved: float | None


class _Line(NamedTuple):
    module: str
    size: int
    what: str
    moved: str


def lines_of(rows: Sequence[Row], tied: Mapping[str, str]) -> list[str]:
    """The table as lines of text, with a heading.

    Args:
        rows: a row a parameter, in the model's order.
        tied: further name of a parameter -> its first.
    """
    modules: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        modules.setdefault((_starred(row.name.rpartition(".")[0]), row.what), []).append(row)
    table = [_Line("module", 0, "what it is", "moved by")]
    for (module, what), several in modules.items():
        split = len({w for m, w in modules if m == module}) > 1
        name = listed_names(several, module) if split else module or "(the model itself)"
        table.append(_Line(name, sum(row.size for row in several), what, _moved(several)))
    table += [_Line(other, 0, f"tied to {first}", "") for other, first in tied.items()]
    wide = max(len(line.module) for line in table)
    wider = max(len(line.what) for line in table)
    return [
        f"{printable(line.module):{wide}}  {_size(line, i):>13}  {line.what:{wider}}  {line.moved}".rstrip()
        for i, line in enumerate(table)
    ]


def _size(line: _Line, place: int) -> str:
    return "parameters" if not place else f"{line.size:,}" if line.size else ""


def listed_names(several: Sequence[Row], module: str) -> str:
    """`module.{weight,bias}` for those parameters of a module that differ from its others."""
    last = list(dict.fromkeys(row.name.rpartition(".")[2] for row in several))
    names = last[0] if len(last) == 1 else "{" + ",".join(last) + "}"
    numbers = {row.name.rpartition(".")[0] for row in several}
    return f"{numbers.pop() if len(numbers) == 1 else module}.{names}".lstrip(".")


def _moved(several: Sequence[Row]) -> str:
    values = [row.moved for row in several if row.moved is not None]
    if not values or not max(values):
        return ""
    few = f"{min(values):.1%}" if max(values) - min(values) < 0.001 else f"{min(values):.1%} to {max(values):.1%}"
    return few


def _starred(module: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.|$)|^\d+(?=\.)", "*", module)
