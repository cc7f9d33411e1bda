"""The panel: an example with the tools to edit it, and what each edit would do to the chosen prediction or slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from explorer.jobs import live
from explorer.panels.header import failure
from explorer.panels.lists import order_only
from explorer.panels.prediction import explain
from explorer.panels.what_if import alternatives, choice, judge, outcome, picture, text
from explorer.panels.what_if.alternatives import Alternatives
from explorer.runs import queries
from explorer.ui import escape, state, theme
from explorer.view.criterion import Judgement
from influence.errors import UpstreamError
from influence.live import Alteration
from influence.run import ORDER_ONLY, Run, slope_of

if TYPE_CHECKING:
    from influence.live import Live


def draw(run: Run, stage: str, row: int) -> None:
    """Draw it for a stage's example at `row`; what is folded away computes nothing."""
    expander = st.expander(
        "What if this example were otherwise?",
        key=state.WHAT_IF,
        bind="query-params",
        on_change="rerun",
    )
    if expander.open:
        with expander:
            _panel(run, stage, row)


def allowed(run: Run) -> dict[str, tuple[str, ...]]:
    """What the URL may say for the panel's widgets, if it is open."""
    if state.clicked(state.WHAT_IF) != "true":
        return {state.WHAT_IF: ("true",)}
    against = {} if run.classes and state.clicked(state.TARGET) == explain.MARGIN else {state.AGAINST: ()}
    return {
        state.WHAT_IF: ("true",),
        state.JUDGE: judge.offered(run.queries()),
        state.WHERE: ("true",),
        state.TARGET: explain.TARGETS if run.classes else (),
        **against,
    }


@st.fragment
def _panel(run: Run, stage: str, row: int) -> None:
    try:
        opened = live.opened(run)
        by = judge.choose(run)
        _tools(run, opened, stage, row, by)
    except UpstreamError as error:
        st.info(f"This run cannot be asked what if. {escape.message(error)}", icon=":material/info:")
    except Exception as error:  # the page does not hear of what happens when the panel alone is drawn again
        failure.draw(run, error)


def not_scaled(run: Run, stage: str) -> str:
    """That the changes are not by the slope of the lists; "" where the lists have none."""
    known = slope_of(run, run.methods(stage)[0], stage)
    return "Changes here are as computed, not scaled by the slope that was measured." if known else ""


def _tools(run: Run, opened: Live, stage: str, row: int, by: Judgement) -> None:
    example, chosen = run.examples(stage).iloc[row], choice.chosen(run, stage, row)
    pictured, told = isinstance(example.get("image"), bytes), isinstance(example.get("text"), str)
    left, right = st.columns([36, 64], gap="medium") if pictured or told else (st.container(), st.container())
    with right:
        shown = _alternatives(run, opened, stage, row, by, chosen)
        order_only.draw(tuple(dict.fromkeys([*run.order_only(run.methods(stage)[0], stage), *opened.order_only])))
        if said := not_scaled(run, stage):
            st.caption(said)
        alternatives.draw(run, shown)
        _outcome(run, opened, by, chosen, shown)
    with left:
        try:
            if pictured:
                picture.draw(run, opened, stage, row, by, chosen, shown.unit)
            elif told:
                text.draw(run, stage, example, chosen)
        except UpstreamError as error:
            st.info(escape.message(error), icon=":material/info:")
    live.warn(run, opened)


def _outcome(run: Run, opened: Live, by: Judgement, chosen: Sequence[Alteration], shown: Alternatives) -> None:
    if not chosen:
        st.caption("Press a bar, or edit the example itself, to see what it would do and to really train with it.")
        return
    try:
        change = _change(opened, by, chosen, shown)
    except UpstreamError as error:
        st.warning(escape.message(error), icon=":material/warning:")
        return
    outcome.draw(run, by, chosen, change, max(shown.largest, abs(change)), shown.unit)


def _alternatives(
    run: Run, opened: Live, stage: str, row: int, by: Judgement, chosen: Sequence[Alteration]
) -> Alternatives:
    example = run.examples(stage).iloc[row]
    classes = [str(name) for name in run.stage(stage).classes]
    labels = live.labels(opened, by.criterion, stage, [row])[0] if classes else np.empty(0)
    votes = queries.votes_on(run, stage, row)
    others = [*alternatives.votes_back(stage, example, votes), *alternatives.whole(stage, example)]
    changes = live.alone(opened, by.criterion, others)
    stored = ORDER_ONLY if opened.order_only else run.unit(run.methods(stage)[0], stage)
    unit = theme.unit_of(np.concatenate([labels, changes]), stored)
    made = alternatives.relabels(stage, example, classes)
    return Alternatives(example, made, labels, others, changes, chosen, unit, by.words, votes)


def _change(opened: Live, by: Judgement, chosen: Sequence[Alteration], shown: Alternatives) -> float:
    """The predicted change; what the bars know is not computed again."""
    known = dict(zip((*shown.labels, *shown.others), (*shown.label_changes, *shown.other_changes), strict=True))
    if len(chosen) == 1 and chosen[0] in known:
        return float(known[chosen[0]])
    if len(chosen) == 1:
        return float(live.alone(opened, by.criterion, chosen)[0])
    return live.together(opened, by.criterion, chosen, steps=0).first
