"""Helpful and harmful totals by class or source; a click on one narrows the lists to it, and each can be opened."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from explorer import components
from explorer.panels.charts import branch
from explorer.ui import state, theme, widgets
from explorer.view import lists
from explorer.view.view import View
from influence.run import class_order

FIRST = 10
"""Rows that are shown at first, if there are more; the others open in place."""
MOST_CLASSES = 200
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
            on_change=_other_groups,
            format_func=str.lower,
        )


def draw(view: View) -> None:
    sent = rows(view)
    components.totals(
        key="totals",
        data={
            "rows": sent,
            "first": FIRST if len(sent) > FIRST + 2 else len(sent),
            "what": noun(view),
            "branch": branch.of(view, _largest(view)),
        },
        on_picked_change=_pick,
        on_within_change=_pick_within,
        on_opened_change=_open,
        on_ringed_change=_ring,
    )
    where = " in the region" if view.region is not None else ""
    strongest = ", strongest first" if len(sent) > FIRST + 2 else ""
    left_out = len(view.totals) - len(sent)
    more = f" {left_out:,} weaker ones are left out." if left_out else ""
    st.caption(
        f"Sums over all examples of a {noun(view)}{where}, {view.unit.words}{strongest}.{more} "
        f"Press a {noun(view)} to list only its examples, ▸ beside it to see what it adds up from."
        + (" A class inside a source is listed by a press, too." if view.by == state.SOURCE else "")
    )


def noun(view: View) -> str:
    return "source" if view.by == state.SOURCE else "class"


def _other_groups() -> None:
    for key in (state.GROUP, state.WITHIN, state.BRANCH):
        state.click(key, None)


def _pick() -> None:
    group = components.event("totals", "picked")
    if state.clicked(state.WITHIN) is None:
        state.toggle(state.GROUP, group)
        return
    # Of one class of a source only: a press on a source lists all of it.
    state.click(state.WITHIN, None)
    state.click(state.GROUP, group)


def _pick_within() -> None:
    """List a class of the source that is open, or all sources again."""
    label, source = components.event("totals", "within"), state.clicked(state.BRANCH)
    listed = (state.clicked(state.GROUP), state.clicked(state.WITHIN)) == (source, label)
    state.click(state.GROUP, None if listed else source)
    state.click(state.WITHIN, None if listed else label)


def _open() -> None:
    state.toggle(state.BRANCH, components.event("totals", "opened"))


def _ring() -> None:
    state.toggle(state.EXAMPLE, components.event("totals", "ringed"))


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Totals in the order of the rows: a few classes by name, of many the strongest first."""
    if len(table) <= FIRST + 2:
        return table.loc[class_order(table.index)]
    return lists.shortened(table, MOST_CLASSES)[0]


def rows(view: View) -> list[dict[str, object]]:
    """A row a class; all bars share one scale."""
    largest, what = _largest(view), noun(view).capitalize()
    return [
        branch.line(view, f"{what} {theme.group_name(group)}", theme.group_name(group), total, largest)
        | {"group": str(group), "pressed": group == view.group and view.within is None}
        for group, total in ordered(view.totals).iterrows()
    ]


def _largest(view: View) -> float:
    return float(np.abs(view.totals[["helpful", "harmful"]].to_numpy()).max(initial=0.0))
