"""The tables behind the charts, drawn only when they are opened."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from explorer.runs import neighbours
from explorer.ui import escape, state
from explorer.view import lists
from explorer.view.view import View


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
            shares = token_shares(view)
            if len(shares):
                st.markdown("**Shares of the tokens**")
                st.dataframe(
                    shares, hide_index=True, height=250, alt="Share of each token of the listed texts, in nats"
                )
            st.markdown("**Totals by class**" if view.by == state.LABEL else "**Totals by source**")
            st.dataframe(view.totals, alt="Helpful and harmful totals by class or source, in nats")
        with right:
            st.markdown("**The histogram**")
            counts, edges = lists.histogram(view.scores)
            bins = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "examples": counts})
            st.dataframe(bins[counts > 0], hide_index=True, height=250, alt="Counts of scores by bin")
            if neighbours.mapped(view.run) is not None and view.on_map:
                st.markdown("**The map**")
                st.dataframe(places(view, unit), hide_index=True, height=250, alt="Places and scores of all examples")


def listed(view: View, unit: str) -> pd.DataFrame:
    """The cards as a table, helpful ones first; with what a text is called and says."""
    shown = view.lists
    parts = {"helpful": shown.helpful, "harmful": shown.harmful}
    if view.ranking == state.ALL_THREE:
        parts = {name.lower(): positions for name, positions in view.rankings.items()}
    elif shown.single is not None:
        parts = {view.ranking.lower(): shown.single}
    positions = np.concatenate(list(parts.values()))
    table = view.examples.iloc[positions]
    columns = {
        "list": [name for name, part in parts.items() for _ in part],
        "rank": np.array([place + 1 for part in parts.values() for place in range(len(part))], dtype=int),
        "id": table["id"].to_numpy(),
        "label": table["label"].to_numpy(),
        unit: view.scores[positions],
    }
    if view.ranking in (state.NEAREST, state.ALL_THREE) and view.cosines is not None:
        columns["cosine"] = view.cosines[positions]
    for name in ("title", "source", "text"):
        if name in table:
            columns[name] = [escape.visible(text) for text in table[name].fillna("")]
    return pd.DataFrame(columns)


def token_shares(view: View) -> pd.DataFrame:
    """Every token of the listed texts whose scores are split, in the order of the cards and of the text."""
    rows = []
    for place in view.lists.shown.tolist() if "text" in view.examples else []:
        text = str(view.examples["text"].iloc[place])
        for span in view.splits.spans(place, text):
            token = escape.visible(text[span.start : span.end])
            rows.append((view.examples["id"].iloc[place], span.start, token, span.share))
    return pd.DataFrame(rows, columns=["id", "at", "token", "share, nat"])


def places(view: View, unit: str) -> pd.DataFrame:
    """Every example of the map with its score, strongest first."""
    table = view.examples[["id", "label", "x", "y", "loss"]].assign(**{unit: view.scores})
    return table.iloc[np.argsort(-np.abs(view.scores), kind="stable")]
