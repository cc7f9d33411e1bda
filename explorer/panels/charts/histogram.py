"""All of the query's scores as a histogram, with the shown cards as ticks and the share that they carry."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from explorer import components
from explorer.ui import state, theme
from explorer.view import lists
from explorer.view.view import View


def draw(view: View) -> None:
    st.html('<h2 class="up-title">All scores <span class="up-quiet up-small">count, log scale</span></h2>')
    components.histogram(key="histogram", data=data(view), on_picked_change=lambda: _pick(view))
    st.caption(f"{share_text(view.scores, view.lists.positions)} Press a bar to list its examples.")


def _pick(view: View) -> None:
    # A bar is one of this prediction's histogram only.
    state.toggle(state.BAR, f"{view.query.row['id']}-{components.event('histogram', 'picked')}")


def share_text(scores: np.ndarray, shown: np.ndarray) -> str:
    """How much the shown examples carry, in a sentence."""
    if not len(shown):
        return f"No example is shown of {len(scores):,}."
    carried = theme.percent(lists.share(scores, shown))
    return f"The {len(shown)} shown carry {carried} of the total |influence| of all {len(scores):,}."


def data(view: View) -> dict[str, object]:
    """What the component draws for a prediction: all examples' scores, with the cards as ticks."""
    alt = (
        f"Histogram of all {len(view.scores):,} scores of this prediction, symmetric about zero; the shown "
        "examples are ticks below it. A table is at the end of the page."
    )
    sent = spread(view.scores, view.lists.positions, view.examples["id"], view.unit, "example", alt)
    return sent | {"pressable": True, "pressed": view.bar}


def spread(
    scores: np.ndarray,
    shown: np.ndarray,
    ids: pd.Series,
    unit: theme.Unit,
    noun: str,
    alt: str,
    limit: float = 0.0,
) -> dict[str, object]:
    """Counts, a tick for each of the `shown`, and the words on hover; places are fractions, 0..1.

    The axis ends at the largest score, or at `limit` if that is larger.
    """
    counts, edges = lists.histogram(scores, limit)
    low, high = float(edges[0]), float(edges[-1])
    named = ids.to_numpy()
    return {
        "counts": counts.tolist(),
        "bins": [
            f"{count:,} {noun}{'' if count == 1 else 's'} from {unit.text(start)} to {unit.text(end)} {unit.name}"
            for count, start, end in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True)
        ],
        "ticks": [
            {
                "at": (float(scores[place]) - low) / (high - low),
                "sign": "helpful" if scores[place] > 0 else "harmful",
                "title": f"#{named[place]}: {unit.text(float(scores[place]))} {unit.name}",
            }
            for place in shown
        ],
        "low": unit.text(low),
        "high": f"{unit.text(high)} {unit.name}".strip(),
        "alt": alt,
    }
