"""Explore: one prediction, the training examples that it came from, and where they lie."""

from __future__ import annotations

import dataclasses

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.panels.charts import histogram, map, totals
from explorer.panels.header import models
from explorer.panels.lists import badge, cards, controls, exports, note, order_only, ringed, tables
from explorer.panels.prediction import explain, patches, picker, prediction
from explorer.panels.retraining import verified
from explorer.runs import neighbours, queries, score_arrays
from explorer.ui import escape, state, theme, widgets
from explorer.view import lists, regions
from explorer.view.query import stored
from explorer.view.view import View, group_column, has_sources
from influence.errors import RunError
from influence.run import Embedding, Run

KNOWN = (
    "Lists by influence, histogram and totals are of all examples. The map, narrowed lists and other rankings know the "
    "kept scores alone."
)


@dataclasses.dataclass(frozen=True)
class Areas:
    """The places of the page, in reading order."""

    prediction: DeltaGenerator
    title: DeltaGenerator
    controls: DeltaGenerator
    lists: DeltaGenerator
    histogram: DeltaGenerator
    totals: DeltaGenerator
    map: DeltaGenerator


def draw(run: Run) -> None:
    """Draw the page for one run.

    Raises:
        RunError: the run has no scores, or one of its files cannot be read.
    """
    stages = score_arrays.scored_stages(run)
    if not stages:
        st.warning(
            "This run holds no scores, so there is nothing to explain yet. Compute them with `upstream precompute`."
        )
        return
    embedding, areas = _embedding(run), _areas()
    with areas.map:
        map.begin(run)
    with areas.prediction:
        models.draw(run)
        widgets.heading("Pick a prediction")
        position = picker.draw(run)
    with areas.controls:
        choices = controls.draw(run, stages, rankings(run, embedding), run.queries().iloc[position])
    with areas.totals:
        by = totals.choose(has_sources(run.examples(choices.stage)))
    view = current_view(run, position, choices, by, embedding)
    with areas.lists:
        view = patches.shown(explain.explained(view, choices.wanted))
    _draw_view(view, areas)
    exports.draw(view, explain.question(view.query.row, view.target), prediction.html(view), state.link())
    tables.draw(view)
    st.caption(theme.CARE)


def _areas() -> Areas:
    with st.container(key="explore"):
        left, middle, right = st.columns([26, 42, 34], gap="large")
    with middle:
        title, choices, listed = st.empty(), st.container(), st.container(key="listed")
        with st.container(key="context"):
            histogram_area, totals_area = st.columns(2, gap="medium")
    return Areas(left, title, choices, listed, histogram_area, totals_area, right)


def _draw_view(view: View, areas: Areas) -> None:
    """Draw a prediction and what it came from."""
    with areas.title:
        widgets.heading(explain.question(view.query.row, view.target, escape.isolated))
    with areas.lists:
        _draw_cause(view)
        st.markdown(
            explain.rule(view.query.row, view.target, theme.stage_word(view.stage)),
            help=theme.sign_help(view.order_only),
        )
        order_only.draw(view.order_only, view.slope)
        if view.stored is not None:
            st.caption(escape.for_markdown(f"{view.stored.lacks} {KNOWN}"))
        if view.target is None and view.ranking == state.INFLUENCE:
            badge.draw(view)
        controls.chips(view)
        cards.draw(view)
        verified.draw(view)
    with areas.histogram:
        histogram.draw(view)
    with areas.totals:
        totals.draw(view)
    with areas.prediction, st.container(key="prediction"):
        prediction.draw(view)
        note.draw(view.run, queries.QUERIES, view.query.row, "query")
        _way_to_compare(view)
    with areas.map:
        map.draw(view)
        # Not below the lists: there it would be off the screen.
        ringed.draw(view)


def _draw_cause(view: View) -> None:
    """On the prediction that a run names to open on: the first sentence of what the run says of itself."""
    first = view.run.manifest.summary.partition(". ")[0]
    if view.query.row.get("opening") == 1 and first:
        st.info(f"{escape.for_markdown(first)}.", icon=":material/science:")


def allowed(run: Run) -> dict[str, tuple[str, ...]]:
    """What the URL may say for the page's widgets."""
    stages = score_arrays.scored_stages(run)
    offered = rankings(run, _embedding(run))
    has_source = any(has_sources(run.examples(stage)) for stage in stages)
    return {
        state.SHOW: queries.shows(run.queries()),
        state.COUNT: state.texts(state.COUNTS),
        state.ORDER: controls.orders(run, stages, offered) if stages else (),
        state.STAGE: controls.stage_values(run),
        state.COLOUR: state.COLOURS,
        state.RANKING: offered,
        state.SHADING: controls.shadings(run, stages),
        **_of_classes(run),
        state.BY: state.texts(by.lower() for by in state.SUMS) if has_source else (),
    }


def _of_classes(run: Run) -> dict[str, tuple[str, ...]]:
    """What the URL may say of the classes that are explained; without classes nothing, and with them of no span."""
    if not run.classes:
        return dict.fromkeys((state.TARGET, state.AGAINST, state.CELL), ())
    against = {} if state.clicked(state.TARGET) == explain.MARGIN else {state.AGAINST: ()}
    return {state.TARGET: explain.TARGETS, state.SPAN: (), **against}


def rankings(run: Run, embedding: Embedding | None) -> tuple[str, ...]:
    """The rankings that a run can offer: nearness needs its embedding, others what simpler scores are made of."""
    missing = set() if embedding is not None else {state.NEAREST, state.ALL_THREE}
    stages = score_arrays.scored_stages(run)
    missing |= score_arrays.SIMPLER.keys() - {name for stage in stages for name in score_arrays.simpler(run, stage)}
    return tuple(name for name in state.RANKINGS if name not in missing)


def current_view(run: Run, position: int, choices: controls.Choices, by: str, embedding: Embedding | None) -> View:
    """The view that widgets and URL ask for."""
    stage = choices.stage
    method = run.methods(stage)[0]
    return View(
        run=run,
        query=stored(run, position),
        stage=stage,
        method=method,
        scores=score_arrays.row(run, stage, method, position),
        count=choices.count,
        order=choices.order,
        ranking=choices.ranking,
        simpler=score_arrays.simpler_row(run, stage, choices.ranking, position),
        shading=choices.shading,
        by=by,
        group=_group(run, stage, by, state.GROUP, "all {} are listed"),
        within=_within(run, stage, by),
        branch=_group(run, stage, by, state.BRANCH, "none of the {} is open"),
        region=_region(),
        bar=_bar(run, position),
        example=_example(run, stage),
        embedding=embedding if neighbours.mapped(run) is run.examples(stage) else None,
    )


def _way_to_compare(view: View) -> None:
    """The way to see this prediction beside another one, or beside another model's."""
    link = state.address(state.COMPARE_PAGE, of=controls.stage_title(view.stage), query=view.query.row["id"])
    ringed.way(link, "Compare with another prediction, model or method")


def _embedding(run: Run) -> Embedding | None:
    """The run's embedding, or None, after saying so if it is there but no good."""
    try:
        return neighbours.embedding(run)
    except RunError as error:
        state.notice(f"{escape.message(error)} Influence is not compared with nearness.")
        return None


def _group(run: Run, stage: str, by: str, key: str, instead: str) -> str | None:
    """The class or source that the URL names by `key`; a notice says what is shown `instead` of an unknown one."""
    labels = run.examples(stage)[group_column(by)].fillna("")
    what, several = ("source", "sources") if by == state.SOURCE else ("class", "classes")
    return state.parsed(
        key,
        lambda text: text if (labels == text).any() else None,
        # Another stage has other classes: not the visitor's mistake, but worth a word.
        lambda text: f"These examples have no {what} “{text}”; {instead.format(several)}.",
    )


def _within(run: Run, stage: str, by: str) -> str | None:
    """The class of the chosen source that the URL names; without a source no class is within one."""
    if by != state.SOURCE or state.clicked(state.GROUP) is None:
        state.click(state.WITHIN, None)
    return _group(run, stage, state.LABEL, state.WITHIN, "all {} of the source are listed")


def _region() -> np.ndarray | None:
    return state.parsed(
        state.REGION,
        regions.parse_region,
        lambda _: "The link's region is not a polygon; the whole map is shown.",
    )


def _bar(run: Run, position: int) -> int | None:
    """Place of the chosen bar of this prediction's histogram; one of another prediction's is silently let go."""
    table = run.queries()
    query, _, place = (state.clicked(state.BAR) or "").rpartition("-")
    known = place.isdecimal() and queries.position_by_id(table, query) is not None
    if known and query != str(table["id"].iloc[position]):
        state.click(state.BAR, None)
    return state.parsed(
        state.BAR,
        lambda _: int(place) if known and len(place) < 4 and int(place) < lists.BAR_COUNT else None,
        lambda text: f"The link's bar “{text}” is not one of the histogram; all scores are listed.",
    )


def _example(run: Run, stage: str) -> int | None:
    """Position of the ringed example, if this stage has it."""
    examples, mapped = run.examples(stage), neighbours.mapped(run)
    tables = [examples] if mapped is None or mapped is examples else [examples, mapped]
    name = state.parsed(
        state.EXAMPLE,
        lambda text: text if any(queries.position_by_id(table, text) is not None for table in tables) else None,
        lambda text: f"No example has id “{text}”; none is ringed.",
    )
    return None if name is None else queries.position_by_id(examples, name)
