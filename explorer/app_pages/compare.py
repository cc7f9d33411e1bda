"""Compare: two answers beside each other, of two models, two predictions, two methods or two questions."""

from __future__ import annotations

import streamlit as st

from explorer.panels.comparison import agreement, joined_lists, scatter, side
from explorer.panels.lists import controls, order_only
from explorer.runs import folder, matching, score_arrays
from explorer.ui import escape, state, theme
from explorer.view import comparison, sides
from influence.errors import RunError
from influence.run import Run


def draw(run: Run) -> None:
    """Draw the page for one run, which is side A's.

    Raises:
        RunError: the scores of side A cannot be read.
    """
    stages = score_arrays.scored_stages(run)
    if not stages:
        st.warning(
            "This run holds no scores, so there is nothing to compare yet. Compute them with `upstream precompute`."
        )
        return
    question = st.empty()
    shared = st.container(horizontal=True, gap="medium", vertical_alignment="bottom", key="list_controls")
    with shared:
        stage, count = controls.choose_stage(stages, help=controls.STAGE_HELP), controls.choose_count()
    names, _ = folder.names(state.runs_folder())
    a = sides.first(run, stage)
    b = _second(a, stage, names)
    with shared:
        st.button("Swap A and B", icon=":material/swap_horiz:", key="swap", on_click=sides.swap, args=(a, b))
    with st.container(key="sides"):
        left, right = st.columns(2, gap="large")
    with left:
        side.controls(sides.A, a, stage, names)
        side.draw(a)
    with right:
        side.controls(sides.B, b, stage, names, sides.usual(a, b.run, b.method, b.explained))
        side.draw(b)
    if refusal := matching.refusal(run, b.run, stage):
        question.html(_title("Compare two answers", b))
        st.error(refusal, icon=":material/link_off:")
        return
    pair = paired(a, b, stage, count)
    question.html(_title(agreement.question(pair), b))
    _draw_pair(pair)


def _second(a: sides.Choice, stage: str, names: list[str]) -> sides.Choice:
    """Side B; where the run that the URL names for it cannot be opened, another, after saying why."""
    try:
        return sides.second(a, stage, names)
    except RunError as error:
        st.error(f"{escape.message(error)} Another run is shown for B.", icon=":material/error:")
        state.click(state.RUN_B, None)
        return sides.second(a, stage, names)


def _draw_pair(pair: comparison.Pair) -> None:
    """Draw what both answers have in common, and the tables behind it."""
    lost = tuple(dict.fromkeys([*pair.a.order_only, *pair.b.order_only]))
    rule = theme.sign_rule(escape.for_markdown(theme.stage_word(pair.a.stage)))
    st.markdown(rule, help=theme.sign_help(lost))
    order_only.draw(lost)
    for lacking in dict.fromkeys(score_arrays.known(s.run, s.stage, s.method).lacks for s in (pair.a, pair.b)):
        if lacking:
            st.caption(escape.for_markdown(f"{lacking} What is compared are the scores that are known on both sides."))
    agreement.draw(pair)
    with st.container(key="compared"):
        left, right = st.columns([55, 45], gap="large")
    with left:
        joined_lists.draw(pair)
    with right:
        scatter.draw(pair)
        agreement.draw_histograms(pair)
    agreement.draw_tables(pair)
    st.caption(theme.CARE)


def allowed(run: Run) -> dict[str, tuple[str, ...]]:
    """What the URL may say for the page's widgets."""
    return state.NOTHING_OF_EXPLORE | {
        state.COUNT: state.texts(state.COUNTS),
        state.STAGE: controls.stage_values(run),
    }


def paired(a: sides.Choice, b: sides.Choice, stage: str, count: int) -> comparison.Pair:
    """Both sides with their scores, one row each; B's in the order of A's examples, whatever order its run has.

    Raises:
        RunError: a row cannot be read.
    """
    one, two = side.answer(a, stage), side.answer(b, stage)
    rows = matching.match(a.run, b.run, stage).rows
    return comparison.Pair(one, two.ordered(rows), count)


def _title(words: str, b: sides.Choice) -> str:
    """The page's title; `words` are already escaped. A copied link names B's run even where nobody chose it."""
    named = f'data-link="{state.RUN_B}" data-value="{escape.for_html(b.run.name)}"'
    return f'<h2 class="up-title" {named}>{words}</h2>'
