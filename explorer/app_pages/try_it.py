"""Try it: a new question to the finetuned model, answered live, and the training examples that the answer came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.jobs import live
from explorer.panels.charts import map
from explorer.panels.comparison import beside
from explorer.panels.lists import cards, controls, exports, order_only, ringed
from explorer.panels.prediction import completed, explain, prediction, question, target
from explorer.panels.prediction.completed import NEAREST_EXAMPLES, Said
from explorer.runs import queries, score_arrays
from explorer.ui import escape, pictures, state, theme, widgets
from explorer.view.query import Query
from explorer.view.view import View
from influence.errors import StudyError, UpstreamError
from influence.live import Contrast, Reading, Span, Target
from influence.run import Run

if TYPE_CHECKING:
    from influence.live import Live

TOLD_ERROR = 0.001
"""A relative error of scores of at least this is told."""
UNKNOWN_LABEL = "unknown"
"""Written in place of the true label, which a new question does not have."""


def draw(run: Run) -> None:
    """Draw the page for one run."""
    try:
        opened = live.indexed(run)
    except UpstreamError as error:
        st.info(f"This run cannot be asked anything new. {escape.message(error)}", icon=":material/info:")
        return
    with st.container(key="explore"):
        left, middle, right = st.columns([26, 42, 34], gap="large")
    with left:
        widgets.heading("Ask the model")
        asked = _question(run, opened)
    stages = score_arrays.scored_stages(run)
    if asked is None or not stages:
        with middle:
            widgets.heading("The answer")
            st.caption("The answer and the training examples that it came from appear here.")
        return
    with left:
        for note in asked.notes:
            st.caption(escape.for_markdown(note))
    said = (_said if opened.classes else completed.said)(run, opened, asked, left, middle)
    with middle:
        choices = controls.draw(run, stages, (state.INFLUENCE,))
        view = new_view(run, opened, asked, said.query, said.target, choices)
        rule = explain.rule(said.query, None if said.target == Span() else said.target, theme.stage_word(view.stage))
        st.markdown(rule, help=theme.sign_help(view.order_only))
        order_only.draw(view.order_only, view.slope)
        live.warn(run, opened)
        cards.draw(view)
        exports.draw(view, said.question, said.html, state.link() if asked.linked else None)
    with right:
        _draw_map(view)
    off = live.error(opened, view.stage)
    if off >= TOLD_ERROR:
        st.caption(f"These scores come from an index, which is off by {theme.percent(off)} (measured on a test item).")
    beside.draw(view)
    st.caption(theme.CARE)


def _said(run: Run, opened: Live, asked: question.Question, left: DeltaGenerator, middle: DeltaGenerator) -> Said:
    """Draw what a classifier says: at the left the answer, before its lists, which take longer."""
    said = opened.predict(asked.item)
    with middle:
        widgets.heading(f"The model says “{escape.isolated(said.prediction)}”. Why?")
        chosen = target.choose(tuple(opened.classes), said.prediction)
    query = row(run, opened, asked, said, chosen)
    answer = answer_html(opened, query, asked, chosen)
    with left:
        st.html(answer)
    return Said(query, chosen, f"The model says “{said.prediction}”. Why?", answer)


def _question(run: Run, opened: Live) -> question.Question | None:
    """Draw the ways to ask; None where nothing is asked, or what is asked cannot be read (said)."""
    if not opened.classes and not opened.spans:
        st.info(
            "This run's model predicts no class, and gives no loss of single tokens: of something new there is no loss "
            "to explain. Its test items are on Explore.",
            icon=":material/info:",
        )
        return None
    try:
        return question.draw(run, opened)
    except StudyError as error:
        st.error(escape.message(error), icon=":material/error:")
        return None


def _draw_map(view: View) -> None:
    map.draw(view)
    ringed.draw(view)
    if "x" in view.query.row:
        st.caption(f"★ stands in the middle of its {NEAREST_EXAMPLES} nearest examples in the embedding.")


def allowed(run: Run) -> dict[str, tuple[str, ...]]:
    """What the URL may say for the page's widgets."""
    return {
        state.COUNT: state.texts(state.COUNTS),
        state.ORDER: (state.STRONGEST, state.RELATIVE),
        state.STAGE: controls.stage_values(run),
        state.COLOUR: state.COLOURS,
        state.RANKING: (state.INFLUENCE,),
        state.WAY: question.EVERY_WAY,
    }


def new_view(
    run: Run, opened: Live, asked: question.Question, query: pd.Series, chosen: Target, choices: controls.Choices
) -> View:
    """The view of a new question, with its scores computed now."""
    stage = choices.stage
    return View(
        run=run,
        query=Query(query),
        target=chosen,
        stage=stage,
        method=run.methods(stage)[0],
        scores=live.scores(opened, asked.item, chosen)[stage],
        count=choices.count,
        order=choices.order,
        shading=choices.shading,
        example=queries.position_by_id(run.examples(stage), state.clicked(state.EXAMPLE) or ""),
        split=live.split(opened, asked.item, chosen, stage),
        told=tuple(opened.order_only),
    )


def row(run: Run, opened: Live, asked: question.Question, said: Reading, chosen: Contrast) -> pd.Series:
    """The question as a row of the queries' table; nobody knows its true label."""
    number = opened.classes.index(chosen.of)
    probability = float(said.probabilities[number])
    values = {
        "id": completed.name(asked),
        "label": UNKNOWN_LABEL,
        "prediction": said.prediction,
        "confidence": float(said.probabilities.max()),
        "loss": -float(np.log(max(probability, 1e-300))),
        "probabilities": said.probabilities,
        ("image" if isinstance(asked.shown, bytes) else "text"): asked.shown,
    }
    return pd.Series(values | completed.place(run, said.embedding))


def answer_html(opened: Live, query: pd.Series, asked: question.Question, chosen: Contrast) -> str:
    """The question as the model reads it, and its prediction, as HTML with everything from data escaped."""
    url, text = pictures.data_url(query), pictures.text(query)
    shown = f'<img class="up-item" src="{url}" alt="The question as the model reads it">' if url else ""
    if text is not None:
        shown = f'<div class="up-text"><p dir="auto">{prediction.text_html(text, asked.read)}</p></div>'
    facts = (
        f"<dl><dt>Predicted</dt><dd><bdi>{escape.for_html(query['prediction'])}</bdi></dd>"
        f"<dt>Confidence</dt><dd>{theme.percent(float(query['confidence']))}</dd>"
        f"<dt>Loss of <bdi>{escape.for_html(chosen.of)}</bdi></dt>"
        f"<dd>{theme.number(float(query['loss']))} nat</dd></dl>"
    )
    kind = "up-prediction" + (" up-has-text" if text is not None else "")
    return f'<div class="{kind}">{shown}{facts}</div>{prediction.probabilities_html(query, list(opened.classes))}'
