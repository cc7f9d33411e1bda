"""The tables behind the charts, drawn only when they are opened."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import streamlit as st

from explorer.export import spreadsheet
from explorer.ui import escape, state, widgets
from explorer.view.view import View


def draw(view: View) -> None:
    widgets.tables("tables", lambda: _draw(view))


def _draw(view: View) -> None:
    unit = f"score, {view.unit.stored}"
    name, (left, right) = f"{view.run.name}-{view.query.row['id']}", st.columns(2)

    def table(title: str, rows: pd.DataFrame, alt: str, key: str, height: int | Literal["auto"] = "auto") -> None:
        st.markdown(f"**{title}**")
        spreadsheet.draw(rows, alt, f"{name}-{key}", f"csv_{key}", height=height)

    with left:
        table("The lists", list_table(view, unit), "The listed examples and their scores", "lists")
        shares = token_shares(view)
        if len(shares):
            alt = f"Share of each token of the listed texts, {view.unit.stored}"
            table("Shares of the tokens", shares, alt, "shares", height=250)
        by = "class" if view.by == state.LABEL else "source"
        totals = view.totals.reset_index(names=by)
        alt = f"Helpful and harmful totals by class or source, {view.unit.stored}"
        table(f"Totals by {by}", totals, alt, "totals")
    with right:
        counts, edges = view.histogram
        bins = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "examples": counts})
        table("The histogram", bins[counts > 0], "Counts of scores by bin", "histogram", height=250)
        if view.on_map:
            table("The map", places(view, unit), "Places and scores of all examples", "map", height=250)


def list_table(view: View, unit: str) -> pd.DataFrame:
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
    for place in view.lists.positions.tolist() if "text" in view.examples else []:
        text = str(view.examples["text"].iloc[place])
        for span in view.splits.spans(place, text):
            token = escape.visible(text[span.start : span.end])
            rows.append((view.examples["id"].iloc[place], span.start, token, span.share))
    return pd.DataFrame(rows, columns=["id", "at", "token", f"share, {view.unit.stored}"])


def places(view: View, unit: str) -> pd.DataFrame:
    """Every example of the map with its score, strongest first."""
    table = view.examples[["id", "label", "x", "y", "loss"]].assign(**{unit: view.scores})
    return table.iloc[strongest_first(view)].dropna(subset=["x", "y"])


def strongest_first(view: View) -> np.ndarray:
    """Positions of the examples whose scores are known, strongest first."""
    return np.argsort(-np.abs(view.scores), kind="stable")[: int(view.known.sum())]
