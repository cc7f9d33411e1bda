"""What the app says when there is no run to show, or when some of them cannot be shown."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from explorer.jobs import demo
from explorer.panels.header import computing
from explorer.ui import escape, state, theme, widgets
from influence.errors import RunError
from influence.run import read_manifest

CHAIN = (
    ("Pretraining", "2,000 handwritten digits, 0 to 3"),
    ("Finetuning", "400 digits, 4 to 9"),
    ("A prediction", f"this 7 is a “4” {theme.WRONG}"),
)
"""The embedded study in three steps."""


def draw(root: Path, bad: dict[str, str]) -> None:
    """The start page: no run can be opened."""
    now = demo.status(root)
    if now.state != demo.NONE:
        # What the button goes on with is no mistake.
        bad = computing.without(bad, now)
    with st.container(width=760, key="start"):
        st.title("No run can be shown" if bad else "No run to show yet")
        st.markdown(
            "Upstream shows which **pretraining** examples made a **finetuned** model right or wrong. It reads *runs*: "
            "folders that hold one finetuned model and what each of its predictions came from. "
            f"It looks for them in {escape.for_markdown(root)}."
        )
        for message in bad.values():
            st.error(escape.message(message), icon=":material/error:")
        st.html(chain_html())
        _compute(root, now)
        _own()


def chain_html() -> str:
    """The embedded study as a picture of three boxes, and the question that goes back."""
    boxes = " <span aria-hidden='true'>→</span> ".join(
        f'<div><b>{title}</b><span class="up-quiet">{words}</span></div>' for title, words in CHAIN
    )
    back = f"Which of the first made the last so: {theme.HELPFUL} which helped, {theme.HARMFUL} which hurt?"
    return f'<div class="up-chain"><div class="up-boxes">{boxes}</div><p class="up-quiet">{back}</p></div>'


def _compute(root: Path, now: demo.Status) -> None:
    """Draw the button, or how far the computation is."""
    if now.state == demo.RUNNING:
        computing.watch(root, steps=True)
        return
    if now.state == demo.FAILED:
        st.error(f"The example could not be computed. {escape.message(now.message)}", icon=":material/error:")
    elif now.state == demo.STOPPED:
        st.info("The computation was stopped. Its finished steps are kept.", icon=":material/info:")
    computing.button(root, now, "the example")
    st.caption(
        "It takes a minute or two, goes on if you close this page, and sends nothing anywhere. The same in a terminal:"
    )
    st.code("upstream demo", language=None, wrap_lines=True)


def _own() -> None:
    widgets.heading("Your own model")
    st.markdown("From folders of pictures, one folder a class, or from files of texts:")
    st.code(
        "upstream precompute --images PRETRAIN FINETUNE TEST\nupstream precompute --texts PRETRAIN FINETUNE TEST",
        language=None,
        wrap_lines=True,
    )
    st.markdown("From a function of your own that returns a Study, any model and any data:")
    st.code("upstream precompute FILE.py:FUNCTION", language=None, wrap_lines=True)
    st.markdown("Or open another folder of runs:")
    st.code("upstream explore --runs FOLDER", language=None, wrap_lines=True)


def gone(root: Path, good: list[str], bad: dict[str, str]) -> None:
    """Say that the run that was shown until now is not there any more; what is wrong with it is said elsewhere."""
    before = state.shown_run()
    if before is None or before in good:
        return
    st.session_state.pop(state.RUN, None)
    if before not in bad or good:
        why = bad.get(before) or f"Run {before}, which was shown here, is no longer in {root}."
        other = " Another run is shown below." if good else ""
        st.error(escape.message(why) + other, icon=":material/error:")


def missing(root: Path, wanted: str, bad: dict[str, str]) -> None:
    """The link names a run that cannot be opened: say why."""
    message = bad.get(wanted)
    if message is None:
        try:
            # A name from the URL must not lead out of the folder of runs.
            read_manifest(root / Path(wanted).name)
            message = f"The link names run {wanted}, which is not in {root}."
        except RunError as error:
            message = str(error)
    st.error(escape.message(message) + " Another run is shown below.", icon=":material/error:")
