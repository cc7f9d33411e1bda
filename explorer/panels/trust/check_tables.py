"""The tables behind the Trust page, drawn only when they are opened, each with a file to take along."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explorer.export import spreadsheet
from explorer.trust import evidence
from explorer.ui import escape, widgets
from influence.run import Run

SHOWN_ROWS = 2000
"""Rows of a table that are sent to the browser; the file has all."""


def draw(run: Run) -> None:
    widgets.tables("check_tables", lambda: _draw(run))


def _draw(run: Run) -> None:
    for check in sorted(run.validations, key=lambda name: name != "summary"):
        _table(run, check)


def _table(run: Run, check: str) -> None:
    table = readable(run, check)
    st.markdown(f"**{escape.for_markdown(check)}**: {len(table):,} rows")
    spreadsheet.show(table.head(SHOWN_ROWS), f"What the check {check} found", height=240)
    spreadsheet.button(lambda: table, f"{run.name}-{check}", f"csv_{check}")


def readable(run: Run, check: str) -> pd.DataFrame:
    """A check's table with the examples' and queries' ids beside their rows; lists of a whole test set left out."""
    table = run.validation(check)
    assert table is not None
    stage = evidence.stage_of(run)
    if "query" in table:
        table = table.assign(query_id=run.queries()["id"].to_numpy()[table["query"]])
    if "example" in table:
        table = table.assign(example_id=run.examples(stage)["id"].to_numpy()[table["example"]])
    if "examples" in table:
        ids = [
            run.examples(s)["id"].to_numpy()[rows] for s, rows in zip(table["stage"], table["examples"], strict=True)
        ]
        means = {f"mean_{name}": [float(values.mean()) for values in table[name]] for name in ("predicted", "measured")}
        table = table[["stage", "start"]].assign(ids=[", ".join(map(str, each)) for each in ids], **means)
    return table
