"""A new question as a row of the queries, and what a model without classes makes of it: the loss on a completion."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.panels.prediction import completion, explain, prediction
from explorer.panels.prediction.question import Question
from explorer.runs import completions, neighbours
from explorer.ui import escape, theme, widgets
from influence.errors import RunError
from influence.live import Span, Target
from influence.run import Run, unit_vectors

if TYPE_CHECKING:
    from influence.live import Live

NEAREST_EXAMPLES = 5
"""The question is put at the mean place of this many nearest examples in the embedding."""


@dataclasses.dataclass(frozen=True)
class Said:
    """What a model says to a new question: a row as of the queries, what is explained, the question and the answer."""

    query: pd.Series
    target: Target
    question: str
    html: str


def said(run: Run, opened: Live, asked: Question, left: DeltaGenerator, middle: DeltaGenerator) -> Said:
    """Draw a completion, of which a span can be chosen, at the left, and the question in the `middle`."""
    found = opened.losses(asked.item)
    assert asked.completion is not None
    text = completions.of_input(asked.completion, found.token_losses)
    values = {
        "id": name(asked),
        "label": "",
        "loss": found.loss,
        "text": text.text,
        "prompt_end": text.prompt_end,
        **place(run, found.embedding),
    }
    query = pd.Series(values)
    span = completion.chosen_of(text, values["id"])
    with middle:
        words = explain.question_of_loss(text.noun, span, escape.isolated)
        widgets.heading(f"Loss {theme.number(found.loss)} nat. {words}")
    facts = prediction.facts_html(query)
    with left:
        with st.container(key="completion"):
            completion.draw(text, values["id"], span)
        st.html(f'<div class="up-prediction up-has-text">{facts}</div>')
    shown = f'<div class="up-text"><p dir="auto">{completion.html(text, span)}</p></div>'
    html = f'<div class="up-prediction up-has-text">{shown}{facts}</div>'
    return Said(query, span or Span(), explain.question_of_loss(text.noun, span), html)


def name(asked: Question) -> str:
    """What a question is called, in place of an id: the same for the same question."""
    end = asked.completion.prompt_end if asked.completion else 0
    return hashlib.sha256(f"{end or ''}{asked.shown!s}".encode()).hexdigest()[:8]


def place(run: Run, vector: np.ndarray) -> dict[str, float]:
    """Its place on the map, `x` and `y`; empty without one."""
    found = placed(run, vector)
    return {} if found is None else {"x": found[0], "y": found[1]}


def placed(run: Run, vector: np.ndarray) -> tuple[float, float] | None:
    """The middle of the nearest examples' places on the map; None without map or embedding."""
    table = neighbours.mapped(run)
    try:
        embedding = neighbours.embedding(run)
    except RunError:
        return None
    if table is None or embedding is None or len(vector) != embedding.examples.shape[1]:
        return None
    near = np.argsort(-(embedding.examples @ unit_vectors(vector[None])[0]), kind="stable")[:NEAREST_EXAMPLES]
    x, y = table[["x", "y"]].to_numpy()[near].mean(axis=0)
    return float(x), float(y)
