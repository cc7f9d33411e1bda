"""What one row of the totals adds up from: a source's classes, a class's examples, the strongest first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from explorer.ui import state, theme
from explorer.view import lists
from explorer.view.view import View

CLASSES, EXAMPLES = 12, 5
"""The most classes of a source and examples of a class that have a row; one more holds the sum of the others."""


def of(view: View, largest: float) -> dict[str, object] | None:
    """The parts of the row that is open, which sum to it; None where none is. Computed for this row alone."""
    if view.branch is None:
        return None
    inside = np.flatnonzero(view.in_region & view.known & (view.groups == view.branch).to_numpy())
    return {
        "group": view.branch,
        "parts": (classes if view.by == state.SOURCE else examples)(view, inside, largest)
        + not_kept(view, inside, largest),
    }


def not_kept(view: View, positions: np.ndarray, largest: float) -> list[dict[str, Any]]:
    """One row for the examples of the group whose scores are not kept; none where all are."""
    rest = view.totals[(view.totals.index == view.branch)].sum() - lists.singles(view.scores, positions).sum()
    count = round(float(rest["examples"]))
    return [line(view, "not kept", f"{count:,} not kept", rest, largest)] if count > 0 else []


def classes(view: View, positions: np.ndarray, largest: float) -> list[dict[str, Any]]:
    """A row a class of the source that is open, each with its own examples in `parts`; `positions` are the source's."""
    labels = view.examples["label"].iloc[positions].fillna("")
    table, rest = lists.shortened(lists.totals(view.scores[positions], labels), CLASSES)
    rows = [
        line(view, f"Class {theme.group_name(label)}", theme.group_name(label), total, largest)
        | {"parts": examples(view, positions[(labels == label).to_numpy()], largest)}
        | {"within": str(label), "pressed": (view.group, view.within) == (view.branch, label)}
        for label, total in table.iterrows()
    ]
    return rows + others(view, rest, "class", "classes", largest)


def examples(view: View, positions: np.ndarray, largest: float) -> list[dict[str, Any]]:
    """A row an example, with its `id`."""
    table, rest = lists.shortened(lists.singles(view.scores, positions), EXAMPLES)
    rows = []
    for position, (_, total) in zip(table.index.tolist(), table.iterrows(), strict=True):
        score, name = float(total["net"]), str(view.examples["id"].iloc[position])
        value = view.unit.of_one(score, lists.rank(view.scores, position))
        rows.append(
            line(view, f"Example {name}", f"#{name}", total, largest)
            | {"helpful": value if score > 0 else "", "harmful": value if score < 0 else ""}
            | {"title": f"Example {name}: {view.unit.full(score)}", "id": name, "pressed": position == view.example}
        )
    return rows + others(view, rest, "example", "examples", largest)


def others(view: View, rest: pd.DataFrame, one: str, several: str, largest: float) -> list[dict[str, Any]]:
    """One row for all that have none of their own; none where all have one."""
    if not len(rest):
        return []
    name = f"1 other {one}" if len(rest) == 1 else f"{len(rest):,} other {several}"
    return [line(view, name, name.replace(f" {several}", "s").replace(f" {one}", ""), rest.sum(), largest)]


def line(view: View, what: str, name: str, total: pd.Series, largest: float) -> dict[str, Any]:
    """A row of sums: `name` and values to be seen, widths of the bars as shares of `largest`, all in words."""
    helpful, harmful = float(total["helpful"]), float(total["harmful"])
    count = int(total["examples"])
    return {
        "name": name,
        "helpful": view.unit.text(helpful),
        "harmful": view.unit.text(harmful),
        "helpful_width": helpful / largest if largest else 0.0,
        "harmful_width": -harmful / largest if largest else 0.0,
        "title": f"{what}, {count:,} {'example' if count == 1 else 'examples'}: helpful {view.unit.full(helpful)}, "
        f"harmful {view.unit.full(harmful)}, together {view.unit.full(helpful + harmful)}",
    }
