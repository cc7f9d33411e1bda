"""Learn: a lesson in steps beside the real pages, and a model small enough to be trained under a learner's hands."""

from __future__ import annotations

import streamlit as st

from explorer.app_pages import explore, suspects
from explorer.app_pages.page import Page
from explorer.lesson.steps import STEPS
from explorer.panels.learn import lesson, plane
from explorer.ui import state, widgets
from influence.run import Run

PAGES: dict[str, Page] = {state.EXPLORE_PAGE: explore, state.SUSPECTS_PAGE: suspects}
"""The pages that steps are taught on; a step whose page is this one is taught on the plane."""


def draw(run: Run) -> None:
    """Draw the page for one run.

    Raises:
        RunError: one of the run's files cannot be read.
    """
    problem, place = lesson.unteachable(run), lesson.number()
    if problem or place is None:
        _contents(run, problem)
        return
    lesson.arrive(run, place)
    step = STEPS[place - 1]
    with st.container(key="lesson"):
        card, page = st.columns([22, 78], gap="medium")
    with card:
        lesson.draw(run, place)
    with page:
        st.html(lesson.outline(step))
        if step.page in PAGES:
            PAGES[step.page].draw(run)
        else:
            _plane()


def allowed(run: Run) -> dict[str, tuple[str, ...]]:
    """What the URL may say for the widgets of the page that the step is taught on."""
    wanted = state.clicked(state.LESSON)
    known = {state.LESSON: lesson.numbers()}
    if wanted not in lesson.numbers() or lesson.unteachable(run):
        return known
    page = STEPS[int(wanted) - 1].page
    return known | (PAGES[page].allowed(run) if page in PAGES else {})


def _contents(run: Run, problem: str) -> None:
    with st.container(key="learn"):
        left, right = st.columns([30, 70], gap="large")
    with left:
        widgets.heading("A lesson in ten steps")
        if problem:
            st.info(problem, icon=":material/info:")
        else:
            _steps(run)
    with right:
        _plane()


def _steps(run: Run) -> None:
    st.markdown(
        "From one mistake of this run's model back to the examples that it learned from. Each step stands beside the "
        "real page, asks for something to be done there, and has its own address to share."
    )
    done, before = lesson.answered(), st.session_state.get(state.ARRANGED)
    if done and len(done) == len(STEPS):
        st.markdown("✓ All ten steps are answered.")
    place = before[1] if before else 1
    st.button(
        "Begin the lesson" if before is None else f"Go on with step {place}",
        key="lesson_begin",
        type="primary",
        on_click=lesson.begin,
        args=(run, place),
    )
    with st.container(key="lesson_steps", gap=None):
        for number, step in enumerate(STEPS, start=1):
            st.button(
                f"{number} {step.title}{' ✓' if number in done else ''}",
                key=f"lesson_step_{number}",
                type="tertiary",
                on_click=lesson.begin,
                args=(run, number),
            )


def _plane() -> None:
    widgets.heading("A model in two stages that trains under your hands")
    st.markdown(
        "It was pretrained to tell ● ■ ◆ apart, then finetuned to tell plus from cross. Which of the first points made "
        "it answer as it does at the star? Two inputs and two hidden units: small enough that training again without a "
        "point takes a millisecond."
    )
    plane.draw()
