"""One side of a comparison: the controls that change it, its prediction and its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from explorer.panels.prediction import explain, prediction, target
from explorer.panels.prediction.search import in_table
from explorer.runs import queries, score_arrays, splits
from explorer.ui import escape, pictures, state, widgets
from explorer.view import comparison, sides, switching
from explorer.view.query import stored

EXPLAINS = {sides.TRUE: "True class", sides.PREDICTED: "Predicted class", sides.MARGIN: "Margin"}
EXPLAINS_HELP = (
    "True class: its loss, as the run has it. Predicted class: the loss of what the model said. Margin: the loss of "
    "what it said minus that of the true class, or, where it was right, of the likeliest other one. Both are "
    "computed now, by the run's usual method; the first time takes some seconds."
)
LIKELIEST_CLASSES = 3
"""Probabilities that are drawn of either prediction."""


def answer(choice: sides.Choice, stage: str) -> comparison.Side:
    """The side's answer, one row read from disk; or computed live where something else is explained.

    Raises:
        RunError: the scores cannot be read.
    """
    asked = sides.target_of(choice)
    scores = explain.scores(choice.run, choice.position, stage, asked)
    # Live answers are by the run's usual method, whatever else it has stored.
    method, told = choice.run.methods(stage)[0], explain.order_only(choice.run) if scores is not None else ()
    listed = sampled = None
    if scores is None:
        asked, method = None, choice.method
        scores = score_arrays.row(choice.run, stage, method, choice.position)
        listed = score_arrays.listed(choice.run, stage, method, choice.position)
        sampled = score_arrays.sampled(choice.run, stage, method)
    query = stored(choice.run, choice.position)
    return comparison.Side(choice.run, query, stage, method, asked, scores, listed, sampled, told)


def controls(
    keys: sides.Keys, choice: sides.Choice, stage: str, names: Sequence[str], usual: int | None = None
) -> None:
    """Draw what changes a side; `usual` is the row that B has as long as the URL names none."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key=f"side_{keys.name}"):
        st.html(f'<span class="up-side">{keys.name}</span>', width="content")
        _select(keys, "Run", list(names), choice.run.name, keys.run, 176, "Whose answer this is.")
        methods = choice.run.methods(stage) if stage in choice.run.stages else []
        if len(methods) > 1:
            _select(keys, "Method", methods, choice.method, keys.method, 128, "How its scores were computed.")
        if sides.can_be_asked(choice.run):
            _select(keys, "Explain", list(EXPLAINS), choice.explained, keys.explained, 168, EXPLAINS_HELP, EXPLAINS)
    _steps(keys, choice, usual)


def draw(choice: sides.Choice) -> None:
    """The side's prediction."""
    text, tokens = pictures.text(choice.row), splits.Splits(choice.run, queries.QUERIES)
    read = None if text is None else tokens.read(choice.position, text)
    for problem in tokens.problems:
        state.notice(splits.problem_text(problem))
    classes = list(choice.run.classes)
    st.html(prediction.prediction_html(choice.row, classes, read, LIKELIEST_CLASSES))
    asked = sides.target_of(choice)
    if asked is not None:
        st.caption(f"Explained: {escape.for_markdown(target.words(asked))}.")


def _select(
    keys: sides.Keys,
    label: str,
    options: list[str],
    value: str,
    url: str,
    width: int,
    about: str,
    words: Mapping[str, str] | None = None,
) -> None:
    key = f"choose_{label.lower()}_{keys.name}"

    def choose() -> None:
        chosen = st.session_state[key]
        if url == state.RUN:
            switching.to(chosen)
        else:
            state.click(url, chosen)

    # The widget follows the URL, which other widgets and the back button change too.
    st.session_state[key] = value
    st.selectbox(
        label,
        options,
        key=key,
        on_change=choose,
        width=width,
        help=about,
        format_func=lambda name: escape.visible((words or {}).get(name, name)),
    )


def _steps(keys: sides.Keys, choice: sides.Choice, usual: int | None) -> None:
    table = choice.run.queries()

    def go(position: int) -> None:
        state.click(keys.query, None if position == usual else table["id"].iloc[position])

    widgets.stepper(
        f"side_{keys.name}",
        "prediction",
        f"{choice.position + 1:,} of {len(table):,}",
        widgets.beside(choice.position, len(table)),
        go,
        in_table(f"find_{keys.name}", "prediction", table, choice.position, go),
        # Arrow keys step through A; where B is the same prediction of another model, it comes along.
        arrow_keys=keys is sides.A,
        width="content",
    )
