"""A search among the rows of a table: by id, or by words of their texts."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from explorer.runs import queries
from explorer.ui import escape, state
from explorer.ui.widgets import Search


def in_table(key: str, noun: str, table: pd.DataFrame, position: int, go: Callable[[int], None]) -> Search:
    """A search for a row of `table` by id, or, from the row at `position` on, by words of its text."""

    def find(wanted: str) -> None:
        found = queries.found(table, wanted, position)
        if found is not None:
            go(found)
        elif wanted:
            state.notice(f"No {noun} has “{escape.for_markdown(wanted)}”; nothing was changed.")

    words = ", or to the next that holds words" if "text" in table else ""
    article = "an" if noun[0] in "aeiou" else "a"
    return Search(key, str(table["id"].iloc[position]), find, f"Go to {article} {noun} by its id{words}")
