"""A new question beside another one: a test prediction, or one that this visitor asked before."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explorer.panels.comparison import agreement, joined_lists, scatter
from explorer.panels.prediction import prediction, target
from explorer.runs import score_arrays
from explorer.ui import escape, pictures, state, widgets
from explorer.view import comparison
from explorer.view.comparison import Side
from explorer.view.query import stored
from explorer.view.view import View

EARLIER_QUESTIONS = 5
"""Earlier questions that can be chosen, the latest."""
NAME_CHARACTERS = 40
"""Characters of a text that name it."""


def draw(view: View) -> None:
    """Draw the choice and, once something is chosen, both answers with their lists; `view` is of a new question.

    Raises:
        RunError: the scores of the test prediction cannot be read.
    """
    own = Side(view.run, view.query, view.stage, view.method, view.target, view.scores, told=view.told)
    earlier = {f"asked {side.query.row['id']} {side.target}": side for side in _remembered(own)}
    table = view.run.queries()
    ids = table["id"].astype(str).tolist()
    widgets.heading("Compare with")
    wanted = st.selectbox(
        "Compare with",
        [*earlier, *ids],
        index=None,
        key=state.BESIDE,
        label_visibility="collapsed",
        width=420,
        placeholder="A test prediction, by its number, or what you asked before",
        format_func=lambda name: _asked_text(earlier[name]) if name in earlier else f"test item #{name}",
    )
    if wanted is None:
        return
    if wanted in earlier:
        other = earlier[wanted]
    else:
        place = ids.index(wanted)
        scores = score_arrays.row(view.run, view.stage, view.method, place)
        listed = score_arrays.listed(view.run, view.stage, view.method, place)
        sampled = score_arrays.sampled(view.run, view.stage, view.method)
        other = Side(view.run, stored(view.run, place), view.stage, view.method, None, scores, listed, sampled)
    _answers(comparison.Pair(own, other, view.count), view.classes)


def _answers(pair: comparison.Pair, classes: list[str]) -> None:
    widgets.heading(agreement.question(pair))
    st.caption(escape.for_markdown(f"A is the question above, B {_asked_text(pair.b)}."))
    with st.container(key="compared"):
        left, right = st.columns([55, 45], gap="large")
    with left:
        if pair.b.query.position is not None:
            st.html(prediction.prediction_html(pair.b.query.row, classes, most=3))
        agreement.draw(pair)
        joined_lists.draw(pair)
    with right:
        scatter.draw(pair)
    agreement.draw_tables(pair)


def _remembered(own: Side) -> list[Side]:
    """Earlier questions of this visitor about the same run and stage, the latest first; `own` is remembered, too."""
    kept = [side for side in st.session_state.get(state.ASKED, []) if side.asked != own.asked]
    st.session_state[state.ASKED] = [own, *kept][: EARLIER_QUESTIONS + 1]
    return [side for side in kept if (side.run.name, side.stage) == (own.run.name, own.stage)][:EARLIER_QUESTIONS]


def _asked_text(side: Side) -> str:
    """A question in a few words, as text."""
    if side.query.position is not None or side.target is None:
        of = f" of “{escape.visible(side.query.row['label'])}”" if side.run.classes else ""
        return f"test item #{side.query.row['id']}, its loss{of}"
    return f"asked before: {_name(side.query.row)}, {target.words(side.target)}"


def _name(row: pd.Series) -> str:
    text = pictures.text(row)
    if "prediction" not in row:
        return f"“{escape.beginning(text or '', NAME_CHARACTERS)}”"
    said = f"said {escape.visible(row['prediction'])}"
    return f"a picture that it {said}" if text is None else f"“{escape.beginning(text, NAME_CHARACTERS)}”, {said}"
