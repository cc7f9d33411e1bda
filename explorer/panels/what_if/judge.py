"""The criterion of edits: the chosen prediction, all mistakes or all predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from explorer.panels.prediction import explain, target
from explorer.runs import queries
from explorer.ui import escape, state, theme, widgets
from explorer.view import criterion
from explorer.view.criterion import Judgement
from influence.live import Criterion, Target
from influence.run import Run, SliceKind, classified, slice_rows

SLICES = {state.MISTAKES: SliceKind.WRONG, state.EVERY: SliceKind.ALL}


def choose(run: Run) -> Judgement:
    """Draw the choice, and for one prediction what is explained of it."""
    table = run.queries()
    position = criterion.chosen(table)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom", key="what_if_judge"):
        name = widgets.choice(
            "Judge by",
            offered(table),
            state.JUDGE,
            help="What an edit raises or lowers: the loss on the chosen prediction, or the mean loss over many.",
        )
        contrast = explain.choose(run, table.iloc[position]) if name == state.THIS else None
    if name == state.THIS:
        st.html(query_html(table.iloc[position]))
    return judge(table, name, position, contrast)


def judge(table: pd.DataFrame, name: str, position: int, contrast: Target | None = None) -> Judgement:
    """The judgement of that name; `position` and `contrast` are of the chosen prediction.

    Its value now is its loss, also where another contrast or a span of it is explained.
    """
    losses = queries.losses(table)
    if name == state.THIS:
        number = f"prediction #{table['id'].iloc[position]}"
        words = f"the loss on {number}" if contrast is None else f"{target.words(contrast)} on {number}"
        criterion = Criterion((position,), contrast=contrast)
        return Judgement(criterion, words, np.array([position]), float(losses[position]))
    rows = slice_rows(table, SLICES[name], position)
    noun = "mistakes" if name == state.MISTAKES else "predictions"
    words = f"the mean loss on all {len(rows):,} {noun}"
    return Judgement(Criterion(tuple(rows.tolist())), words, rows, float(losses[rows].mean()))


def offered(table: pd.DataFrame) -> tuple[str, ...]:
    """What edits can be judged by: without a mistake, not by the mistakes."""
    wrong = classified(table) and bool((table["prediction"] != table["label"]).any())
    return tuple(name for name in state.JUDGES if wrong or name != state.MISTAKES)


def query_html(query: pd.Series) -> str:
    """The chosen prediction in a line, with the way to it, as HTML with everything from data escaped."""
    link, said = state.address(state.EXPLORE_PAGE, query=query["id"]), ""
    if "prediction" in query:
        mark = theme.RIGHT if query["prediction"] == query["label"] else theme.WRONG
        predicted = f"{escape.isolated(query['prediction'])} {mark}"
        said = f"true label {escape.isolated(query['label'])}, predicted {predicted}, "
    return (
        f'<p class="up-this up-quiet up-small"><a class="up-way" href="{escape.for_html(link)}">Prediction '
        f"#{query['id']}</a>: {said}loss {theme.number(float(query['loss']))} nat</p>"
    )
