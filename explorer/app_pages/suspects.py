"""Suspects: repair of the training data, judged by a slice of the test set, a gap or a class: lists and a basket."""

from __future__ import annotations

import streamlit as st

from explorer.panels.basket import basket, proof
from explorer.panels.lists import controls
from explorer.panels.repair import add, judge, relabel, remove, votes
from explorer.panels.repair.subject import Subject
from explorer.runs import score_arrays
from explorer.ui import escape, state, theme, widgets
from explorer.view import edits
from explorer.view.criterion import ERROR
from influence.errors import UpstreamError
from influence.run import Run

REPAIR_HELP = (
    "Remove: examples to leave out. Relabel: examples to give another label. Add: examples to train on besides. Votes: "
    "of rules that made the labels, to be taken back. What you tick goes into one basket."
)


def draw(run: Run) -> None:
    """Draw the page for one run.

    Raises:
        RunError: its scores cannot be read.
    """
    stages = score_arrays.scored_stages(run)
    if not stages:
        st.warning("This run holds no scores, so nobody is suspect yet. Compute them with `upstream precompute`.")
        return
    widgets.heading("Which training examples harm these predictions?")
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom", key="judged"):
        judged = judge.choose(run)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        repair = widgets.choice("Repair", repairs(run), state.REPAIR, help=REPAIR_HELP)
        stage = controls.choose_stage(stages)
    subject = Subject(run, stage, judged, edits.basket(run))
    if judged.kind == ERROR or repair != state.REMOVE:
        try:
            _list(subject, repair)
        except UpstreamError as error:
            st.info(f"This run's models cannot be asked what if. {escape.message(error)}", icon=":material/info:")
    else:
        _list(subject, repair)
    basket.draw(subject)
    if subject.basket:
        proof.draw(subject)
    proof.known(subject)
    st.caption(theme.CARE)


def _list(subject: Subject, repair: str) -> None:
    {state.REMOVE: remove, state.RELABEL: relabel, state.ADD: add, state.VOTES: votes}[repair].draw(
        subject, subject.scores()
    )


def repairs(run: Run) -> tuple[str, ...]:
    """The kinds of repair that the run knows of: votes only where rules made the labels of a stage."""
    voted = any(run.has_votes(stage) for stage in run.stages)
    return tuple(kind for kind in state.REPAIRS if voted or kind != state.VOTES)


def allowed(run: Run) -> dict[str, tuple[str, ...]]:
    """What the URL may say for the page's widgets."""
    return {
        state.SIDE: state.SIDES,
        state.STAGE: controls.stage_values(run),
        state.CRITERION: judge.offered(run),
        state.REPAIR: repairs(run),
        state.SPEAKS: state.SPEAKERS if state.clicked(state.REPAIR) == state.RELABEL else (),
        state.TOGETHER: ("true",),
        state.AGAIN: ("true",),
    }
