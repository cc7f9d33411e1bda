"""Explore: one prediction, the training examples that it came from, and where they lie."""

from __future__ import annotations

import numpy as np
import streamlit as st

from explorer import plain, queries, regions, runs, state, theme
from explorer.panels import cards, groups, histogram, influence_map, picker, prediction, tables
from explorer.view import View
from influence.run import Run


def draw(run: Run) -> None:
    """Draw the page for one run.

    Raises:
        RunError: the run has no scores, or one of its files cannot be read.
    """
    stages = runs.scored_stages(run)
    if not stages:
        st.warning(
            "This run holds no scores, so there is nothing to explain yet. Compute them with `upstream precompute`."
        )
        return
    with st.container(key="explore"):
        left, middle, right = st.columns([26, 42, 34], gap="large")
    with left:
        _title("Pick a prediction")
        position = picker.draw(run)
    with middle:
        question = st.empty()
        cards.controls(stages, "gradient_norm" in run.examples(stages[0]))
        view = current_view(run, position, stages)
        question.html(f'<h2 class="up-title">{question_text(view)}</h2>')
        st.markdown(theme.sign_rule(plain.for_markdown(theme.stage_word(view.stage))), help=theme.SIGN_HELP)
        cards.chips(view)
        cards.draw(view)
        with st.container(key="context"):
            spread, sums = st.columns(2, gap="medium")
        with spread:
            histogram.draw(view)
        with sums:
            groups.draw(view)
    with left:
        prediction.draw(view)
    with right:
        influence_map.draw(view)
    tables.draw(view)
    st.caption(theme.CARE)


def allowed(run: Run) -> dict[str, tuple[str, ...]]:
    """What the URL may say for each widget that offers a fixed choice."""
    stages = runs.scored_stages(run)
    return {
        state.SHOW: queries.SHOWS,
        state.COUNT: state.texts(state.COUNTS),
        state.ORDER: state.ORDERS,
        state.STAGE: state.texts(cards.stage_title(stage) for stage in stages),
        state.COLOUR: state.COLOURS,
    }


def current_view(run: Run, position: int, stages: list[str]) -> View:
    """The view that widgets and URL ask for."""
    chosen = st.session_state.get(state.STAGE)
    stage = chosen if chosen in stages else stages[0]
    method = run.methods(stage)[0]
    examples = run.examples(stage)
    example = _example(run, stage)
    return View(
        run=run, position=position, stage=stage, method=method, scores=runs.row(run, stage, method, position),
        count=st.session_state.get(state.COUNT) or state.COUNTS[0],
        order=st.session_state.get(state.ORDER) or state.STRONGEST,
        group=_group(set(examples["label"])), region=_region(), example=example,
    )  # fmt: skip


def question_text(view: View) -> str:
    """The page's question, escaped for HTML."""
    return f"Why did the model say “{plain.for_html(view.query['prediction'])}”?"


def _title(text: str) -> None:
    st.html(f'<h2 class="up-title">{text}</h2>')


def _group(labels: set[str]) -> str | None:
    group = state.clicked(state.GROUP)
    if group is not None and group not in labels:
        # Another stage has other classes: not the visitor's mistake, but worth a word.
        state.notice(f"These examples have no class “{plain.for_markdown(group)}”; all classes are listed.")
        state.click(state.GROUP, None)
        return None
    return group


def _region() -> np.ndarray | None:
    text = state.clicked(state.REGION)
    region = regions.parse_region(text) if text else None
    if text and region is None:
        state.notice("The link's region is not a polygon; the whole map is shown.")
        state.click(state.REGION, None)
    return region


def _example(run: Run, stage: str) -> int | None:
    """Position of the ringed example, if this stage has it."""
    text = state.clicked(state.EXAMPLE)
    if text is None:
        return None
    tables = {id(table): table for table in (run.examples(stage), runs.mapped(run)) if table is not None}
    if all(queries.position_by_id(table, text) is None for table in tables.values()):
        state.notice(f"No example has id “{plain.for_markdown(text)}”; none is ringed.")
        state.click(state.EXAMPLE, None)
    return queries.position_by_id(run.examples(stage), text)
