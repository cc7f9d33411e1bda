"""The tables behind the charts, drawn only when they are opened."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from explorer import lists, runs
from explorer.view import View


def draw(view: View) -> None:
    expander = st.expander("Tables behind this page", icon=":material/table:", on_change="rerun", key="tables")
    if not expander.open:
        return
    unit = f"score, {'nat' if view.unit.name else 'no unit'}"
    with expander:
        left, right = st.columns(2)
        with left:
            st.markdown("**The lists**")
            st.dataframe(listed(view, unit), hide_index=True, alt="The listed examples and their scores")
            st.markdown("**Totals by class**")
            st.dataframe(view.totals, alt="Helpful and harmful totals by class, in nats")
        with right:
            st.markdown("**The histogram**")
            counts, edges = lists.histogram(view.scores)
            bins = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "examples": counts})
            st.dataframe(bins[counts > 0], hide_index=True, height=250, alt="Counts of scores by bin")
            if runs.mapped(view.run) is not None and view.on_map:
                st.markdown("**The map**")
                st.dataframe(places(view, unit), hide_index=True, height=250, alt="Places and scores of all examples")


def listed(view: View, unit: str) -> pd.DataFrame:
    """The cards as a table, helpful ones first."""
    shown = view.lists
    table = view.examples.iloc[shown.shown]
    return pd.DataFrame(
        {
            "list": ["helpful"] * len(shown.helpful) + ["harmful"] * len(shown.harmful),
            "rank": np.concatenate([np.arange(len(shown.helpful)), np.arange(len(shown.harmful))]).astype(int) + 1,
            "id": table["id"].to_numpy(),
            "label": table["label"].to_numpy(),
            unit: view.scores[shown.shown],
        }
    )


def places(view: View, unit: str) -> pd.DataFrame:
    """Every example of the map with its score, strongest first."""
    table = view.examples[["id", "label", "x", "y", "loss"]].assign(**{unit: view.scores})
    return table.iloc[np.argsort(-np.abs(view.scores), kind="stable")]
