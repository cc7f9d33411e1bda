"""Explore: one prediction, the training examples that it came from, and where they lie."""

from __future__ import annotations

import dataclasses

import numpy as np
import streamlit as st

from explorer import neighbours, plain, queries, regions, runs, splits, state, theme
from explorer.panels import cards, controls, explain, groups, histogram, influence_map, picker, prediction, tables
from explorer.view import View, group_column
from influence.errors import RunError
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
    embedding = _embedding(run)
    with st.container(key="explore"):
        left, middle, right = st.columns([26, 42, 34], gap="large")
    with left:
        _title("Pick a prediction")
        position = picker.draw(run)
    with middle:
        question = st.empty()
        choices = controls.draw(run, stages, rankings(embedding))
        wanted = explain.choose(run, run.queries().iloc[position])
        listed = st.container(key="listed")
        with st.container(key="context"):
            spread, sums = st.columns(2, gap="medium")
    with sums:
        # Before the lists, which a class or source may narrow down.
        by = groups.choose("source" in run.examples(choices.stage))
    view = current_view(run, position, choices, by, embedding)
    live = explain.scores(run, position, view.stage, wanted)
    if live is not None:
        # The split over tokens that the run has is of its own scores.
        view = dataclasses.replace(view, scores=live, shading=state.PLAIN)
    question.html(f'<h2 class="up-title">{question_text(view)}</h2>')
    with listed:
        rule = explain.rule(wanted if live is not None else None, plain.for_markdown(theme.stage_word(view.stage)))
        st.markdown(rule, help=theme.SIGN_HELP)
        controls.chips(view)
        cards.draw(view)
    with listed:
        _way_to_item(view)
    with spread:
        histogram.draw(view)
    with sums:
        groups.draw(view)
    with left, st.container(key="prediction"):
        prediction.draw(view)
    with right:
        influence_map.draw(view)
    tables.draw(view)
    st.caption(theme.CARE)


def allowed(run: Run) -> dict[str, tuple[str, ...]]:
    """What the URL may say for each widget that offers a fixed choice; nothing for one that this run does not need."""
    stages = runs.scored_stages(run)
    has_split = any(splits.stored(run, stage, run.methods(stage)[0]) for stage in stages)
    has_source = any("source" in run.examples(stage) for stage in stages)
    return {
        state.SHOW: queries.SHOWS,
        state.COUNT: state.texts(state.COUNTS),
        state.ORDER: state.ORDERS,
        state.STAGE: state.texts(controls.stage_title(stage) for stage in stages),
        state.COLOUR: state.COLOURS,
        state.RANKING: rankings(_embedding(run)),
        state.SHADING: state.SHADINGS if has_split else (),
        state.BY: state.texts(by.lower() for by in state.SUMS) if has_source else (),
    }


def rankings(embedding: neighbours.Embedding | None) -> tuple[str, ...]:
    """The rankings that a run can offer: nearness needs its embedding."""
    return tuple(name for name in state.RANKINGS if name != state.NEAREST or embedding is not None)


def current_view(
    run: Run, position: int, choices: controls.Choices, by: str, embedding: neighbours.Embedding | None
) -> View:
    """The view that widgets and URL ask for."""
    stage = choices.stage
    method = run.methods(stage)[0]
    return View(
        run=run, position=position, stage=stage, method=method, scores=runs.row(run, stage, method, position),
        count=choices.count, order=choices.order, ranking=choices.ranking, shading=choices.shading, by=by,
        group=_group(run, stage, by), region=_region(), example=_example(run, stage),
        embedding=embedding if runs.mapped(run) is run.examples(stage) else None,
    )  # fmt: skip


def question_text(view: View) -> str:
    """The page's question, escaped for HTML."""
    return f"Why did the model say “<bdi>{plain.for_html(view.query['prediction'])}</bdi>”?"


def _way_to_item(view: View) -> None:
    """The ringed example's own page."""
    if view.example is None:
        return
    example = view.examples["id"].iloc[view.example]
    link = state.address(state.ITEM_PAGE, of=controls.stage_title(view.stage), example=example, query=view.query["id"])
    st.html(f'<a href="{plain.for_html(link)}">Which predictions example #{example} helps and hurts most →</a>')


def _title(text: str) -> None:
    st.html(f'<h2 class="up-title">{text}</h2>')


def _embedding(run: Run) -> neighbours.Embedding | None:
    """The run's embedding, or None, after saying so if it is there but no good."""
    try:
        return neighbours.embedding(run)
    except RunError as error:
        state.notice(f"{plain.message(error)} Influence is not compared with nearness.")
        return None


def _group(run: Run, stage: str, by: str) -> str | None:
    group = state.clicked(state.GROUP)
    if group is None:
        return None
    labels = run.examples(stage)[group_column(by)].fillna("")
    if not (labels == group).any():
        what, all_of = ("source", "sources") if by == state.SOURCE else ("class", "classes")
        # Another stage has other classes: not the visitor's mistake, but worth a word.
        state.notice(f"These examples have no {what} “{plain.for_markdown(group)}”; all {all_of} are listed.")
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
