"""The lesson's card beside the page that a step teaches on: text, question, ways back and on; and the step's state."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from explorer import components
from explorer.lesson import steps
from explorer.lesson.facts import Scene
from explorer.lesson.steps import STEPS, Step
from explorer.panels.prediction import explain
from explorer.runs import queries
from explorer.ui import escape, state, theme, widgets
from influence.run import Run

DEFAULTS: dict[str, object] = {
    state.SHOW: queries.ALL,
    state.COUNT: state.COUNTS[0],
    state.ORDER: state.STRONGEST,
    state.COLOUR: state.INFLUENCE,
    state.RANKING: state.INFLUENCE,
    state.SHADING: state.TOKENS,
    state.BY: state.LABEL,
    state.SIDE: state.HARM,
    state.TARGET: explain.TRUE,
}
"""Values of widgets when a step begins, unless the step sets others."""
CLICKED = (
    state.QUERY,
    state.CELL,
    state.GROUP,
    state.WITHIN,
    state.REGION,
    state.EXAMPLE,
    state.BAR,
    state.BRANCH,
    state.WORDS,
    state.SLICE,
    state.PLANE,
)
"""Choices made by clicking that a step takes back, if it says nothing else. What took work stays: basket and plane."""


def number() -> int | None:
    """The step that the URL names, from 1; None without one, or where it names none."""
    text = state.clicked(state.LESSON)
    if text is None:
        return None
    if text not in numbers():
        state.click(state.LESSON, None)
        return None
    return int(text)


def numbers() -> tuple[str, ...]:
    return state.texts(range(1, len(STEPS) + 1))


def unteachable(run: Run) -> str:
    """Why the lesson cannot be taught from this run, as a sentence; empty if it can."""
    if not Scene(run).stages:
        return "This run holds no scores to teach from yet. Compute them with `upstream precompute`."
    if not run.classes:
        return "The lesson is about right and wrong answers, and this run's model has no classes to be wrong about."
    return ""


def begin(run: Run, step: int) -> None:
    """Go to a step and set its state; for callbacks."""
    state.click(state.LESSON, step)
    _arrange(run, step, kept=())


def leave() -> None:
    state.click(state.LESSON, None)


def arrive(run: Run, step: int) -> None:
    """Set a step's state if it was reached by a link (what else the link says is kept) or the run was changed."""
    before = st.session_state.get(state.ARRANGED)
    if before != (run.name, step):
        changed = before is not None and before[1] == step
        _arrange(run, step, kept=() if changed else tuple(st.query_params))


def _arrange(run: Run, step: int, kept: tuple[str, ...]) -> None:
    scene = Scene(run)
    wanted = {
        key: value.format(it=scene) if isinstance(value, str) else value for key, value in STEPS[step - 1].set.items()
    }
    for key in CLICKED:
        if key not in kept:
            state.click(key, wanted.get(key))
    for key, value in {**DEFAULTS, state.STAGE: scene.stages[0]}.items():
        if key not in kept:
            st.session_state[key] = wanted.get(key, value)
    st.session_state[state.ARRANGED] = (run.name, step)


def draw(run: Run, place: int) -> None:
    """Draw the card of step `place`."""
    step, scene = STEPS[place - 1], Scene(run)
    lack = step.needs(scene)
    reply = steps.WAITING if lack else step.check(scene)
    if reply.right:
        st.session_state[state.ANSWERED] = answered() | {place}
    with st.container(key="lesson_card"):
        st.html(_progress(place))
        widgets.heading(escape.for_html(step.title))
        if lack:
            st.info(f"{lack} Go on with the next step.", icon=":material/info:")
        else:
            st.markdown(step.text.format(it=scene))
            _question(step, scene, reply)
        region = step.regions[0] if step.regions and not lack else None
        components.spotlight(key="spotlight", data={"step": place, "run": run.name, "region": region})
        _buttons(run, place, bool(reply.right or lack))


def answered() -> frozenset[int]:
    """The steps that were answered in this session."""
    return frozenset(st.session_state.get(state.ANSWERED, ()))


def _question(step: Step, scene: Scene, reply: steps.Reply) -> None:
    with st.container(key="lesson_question"):
        st.markdown(f"**{step.question.format(it=scene)}**")
        if reply.right:
            st.markdown(f"{theme.RIGHT} {step.answer.format(it=scene)}")
        elif reply.words:
            st.markdown(f"{theme.WRONG} {reply.words}")


def _progress(place: int) -> str:
    """How far the lesson is, in words and as a row of bars."""
    done = answered()
    bars = "".join(
        f'<i class="{"up-here" if step == place else "up-done" if step in done else ""}"></i>'
        for step in range(1, len(STEPS) + 1)
    )
    return f'<div class="up-progress"><span>{place} of {len(STEPS)}</span><span class="up-bars">{bars}</span></div>'


def _buttons(run: Run, place: int, ready: bool) -> None:
    last = place == len(STEPS)
    on: Callable[..., None] = leave if last else begin
    to = () if last else (run, place + 1)
    with st.container(horizontal=True, gap="xsmall", key="lesson_buttons"):
        st.button("Back", key="lesson_back", on_click=begin, args=(run, place - 1), disabled=place == 1)
        st.button("Skip", key="lesson_skip", on_click=on, args=to, disabled=ready)
        st.button(
            "Finish" if last else "Next", key="lesson_next", type="primary", on_click=on, args=to, disabled=not ready
        )
    st.button("Leave the lesson", key="lesson_leave", type="tertiary", on_click=leave)


def outline(step: Step) -> str:
    """A style sheet that outlines the step's regions."""
    keys = ", ".join(f".st-key-lesson .st-key-{key}" for key in step.regions)
    return f"<style>{keys} {{ outline: 2px dashed currentColor; outline-offset: 4px; border-radius: 4px; }}</style>"
