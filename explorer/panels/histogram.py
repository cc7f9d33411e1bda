"""All of the query's scores as a histogram, with the shown cards as ticks and the share that they carry."""

from __future__ import annotations

import numpy as np
import streamlit as st

from explorer import components, lists, theme
from explorer.view import View


def draw(view: View) -> None:
    st.html('<h2 class="up-title">All scores <span class="up-quiet up-small">count, log scale</span></h2>')
    components.histogram(key="histogram", data=data(view))
    st.caption(share_text(view.scores, view.lists.shown))


def share_text(scores: np.ndarray, shown: np.ndarray) -> str:
    """How much the shown examples carry, in a sentence."""
    if not len(shown):
        return f"No example is shown of {len(scores):,}."
    carried = theme.percent(lists.share(scores, shown))
    return f"The {len(shown)} shown carry {carried} of the total |influence| of all {len(scores):,}."


def data(view: View) -> dict[str, object]:
    """What the component draws: counts, a tick for every card, and the words on hover; places are fractions, 0..1."""
    counts, edges = lists.histogram(view.scores)
    low, high = float(edges[0]), float(edges[-1])
    text, unit = view.unit.text, view.unit.name
    ids = view.examples["id"].to_numpy()
    return {
        "counts": counts.tolist(),
        "bins": [
            f"{count:,} {'example' if count == 1 else 'examples'} from {text(start)} to {text(end)} {unit}"
            for count, start, end in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True)
        ],
        "ticks": [
            {
                "at": (float(view.scores[place]) - low) / (high - low),
                "sign": "helpful" if view.scores[place] > 0 else "harmful",
                "title": f"#{ids[place]}: {text(float(view.scores[place]))} {unit}",
            }
            for place in view.lists.shown
        ],
        "low": text(low),
        "high": f"{text(high)} {unit}".strip(),
        "alt": f"Histogram of all {len(view.scores):,} scores of this prediction, symmetric about zero; the shown "
        "examples are ticks below it. A table is at the end of the page.",
    }
