"""Helpful and harmful totals by class; a click on a class narrows the lists to it."""

from __future__ import annotations

import numpy as np
import streamlit as st

from explorer import components, state
from explorer.view import View


def draw(view: View) -> None:
    where = "in the region" if view.region is not None else ""
    st.html(f'<h2 class="up-title">Totals by class {where}</h2>')
    components.totals(key="totals", data={"rows": rows(view)}, on_picked_change=_pick)
    unit = f", {view.unit.name}" if view.unit.name else ""
    st.caption(f"Sums over all examples of a class{unit}. Press a class to list only its examples.")


def _pick() -> None:
    state.toggle(state.GROUP, components.event("totals", "picked"))


def rows(view: View) -> list[dict[str, object]]:
    """A row a class; all bars share one scale."""
    table = view.totals
    largest = float(np.abs(table[["helpful", "harmful"]].to_numpy()).max()) if len(table) else 0.0
    result = []
    for group, total in table.iterrows():
        helpful, harmful = float(total["helpful"]), float(total["harmful"])
        net = view.unit.full(helpful + harmful)
        result.append(
            {
                "group": str(group),
                "helpful": view.unit.text(helpful),
                "harmful": view.unit.text(harmful),
                "helpful_width": helpful / largest if largest else 0.0,
                "harmful_width": -harmful / largest if largest else 0.0,
                "pressed": group == view.group,
                "title": f"Class {group}, {int(total['examples']):,} examples: helpful {view.unit.full(helpful)}, "
                f"harmful {view.unit.full(harmful)}, together {net}",
            }
        )
    return result
