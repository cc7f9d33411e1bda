"""Helpful and harmful totals by class or source; a click on one narrows the lists to it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from explorer import components
from explorer.runs import queries
from explorer.ui import state, theme, widgets
from explorer.view.view import View

FIRST = 10
"""Rows that are shown at first, if there are more; the others open in place."""
MOST = 200
"""Rows that are sent at all: the strongest."""


def choose(has_source: bool) -> str:
    """Draw the heading, with a switch if examples have sources too; return what totals are summed by."""
    if not has_source:
        widgets.heading("Totals by class")
        return state.LABEL
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="sums"):
        widgets.heading("Totals by", width="content")
        return widgets.choice(
            "Totals by",
            state.SUMS,
            state.BY,
            label_visibility="collapsed",
            on_change=state.click,
            args=(state.GROUP, None),
            format_func=str.lower,
        )


def draw(view: View) -> None:
    sent = rows(view)
    components.totals(
        key="totals",
        data={"rows": sent, "first": FIRST if len(sent) > FIRST + 2 else len(sent), "what": noun(view)},
        on_picked_change=_pick,
    )
    where = " in the region" if view.region is not None else ""
    strongest = ", strongest first" if len(sent) > FIRST + 2 else ""
    left_out = len(view.totals) - len(sent)
    more = f" {left_out:,} weaker ones are left out." if left_out else ""
    st.caption(
        f"Sums over all examples of a {noun(view)}{where}, {view.unit.words}{strongest}.{more} "
        f"Press a {noun(view)} to list only its examples."
    )


def noun(view: View) -> str:
    return "source" if view.by == state.SOURCE else "class"


def _pick() -> None:
    state.toggle(state.GROUP, components.event("totals", "picked"))


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Totals in the order of the rows: a few classes by name, of many the strongest first."""
    if len(table) <= FIRST + 2:
        return table.loc[queries.class_order(table.index)]
    strength = table["helpful"] - table["harmful"]
    return table.loc[strength.sort_values(ascending=False, kind="stable").index].head(MOST)


def rows(view: View) -> list[dict[str, object]]:
    """A row a class; all bars share one scale."""
    table = ordered(view.totals)
    largest = float(np.abs(table[["helpful", "harmful"]].to_numpy()).max()) if len(table) else 0.0
    result = []
    for group, total in table.iterrows():
        helpful, harmful = float(total["helpful"]), float(total["harmful"])
        net = view.unit.full(helpful + harmful)
        result.append(
            {
                "group": str(group),
                "name": theme.group_name(group),
                "helpful": view.unit.text(helpful),
                "harmful": view.unit.text(harmful),
                "helpful_width": helpful / largest if largest else 0.0,
                "harmful_width": -harmful / largest if largest else 0.0,
                "pressed": group == view.group,
                "title": f"{noun(view).capitalize()} {theme.group_name(group)}, {int(total['examples']):,} examples: "
                f"helpful {view.unit.full(helpful)}, harmful {view.unit.full(harmful)}, together {net}",
            }
        )
    return result
