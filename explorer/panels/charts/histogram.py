"""All of the query's scores as a histogram, with the shown cards as ticks and the share that they carry."""

from __future__ import annotations

import streamlit as st

from explorer import components
from explorer.charts import histogram
from explorer.ui import state, theme, widgets
from explorer.view.view import View


def draw(view: View) -> None:
    widgets.heading("All scores", "count, log scale")
    components.histogram(key="histogram", data=data(view), on_picked_change=lambda: _pick(view))
    st.caption(f"{share_text(view)} Press a bar to list its examples.")


def _pick(view: View) -> None:
    # A bar is one of this prediction's histogram only.
    state.toggle(state.BAR, f"{view.query.row['id']}-{components.event('histogram', 'picked')}")


def share_text(view: View) -> str:
    """How much the shown examples carry, in a sentence; of scores without a unit only how many they are."""
    scores, shown = view.scores, view.lists.positions
    if not len(shown):
        return f"No example is shown of {len(scores):,}."
    if not view.unit.name:
        return f"{len(shown)} are shown of {len(scores):,}."
    carried = theme.percent(view.share)
    return f"The {len(shown)} shown carry {carried} of the total |influence| of all {len(scores):,}."


def data(view: View) -> dict[str, object]:
    """What the component draws for a prediction: all examples' scores, and a tick for every card; places are 0..1."""
    counts, edges = view.histogram
    low, high = float(edges[0]), float(edges[-1])
    numbers, unit = view.examples["id"].to_numpy(), view.unit
    return {
        "counts": counts.tolist(),
        "bins": histogram.words(counts, edges, unit, "example"),
        "ticks": [
            {
                "at": (float(view.scores[place]) - low) / (high - low),
                "sign": "helpful" if view.scores[place] > 0 else "harmful",
                "title": histogram.tick_words(numbers[place], float(view.scores[place]), unit),
            }
            for place in view.lists.positions
        ],
        "low": unit.text(low),
        "high": f"{unit.text(high)} {unit.name}".strip(),
        "pressed": view.bar,
        "alt": f"Histogram of all {len(view.scores):,} scores of this prediction, symmetric about zero; the shown "
        "examples are ticks below it. A table is at the end of the page.",
    }
