"""What the app says when there is no run to show, or when some of them cannot be shown."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from explorer.jobs import demo
from explorer.runs import folder
from explorer.ui import escape, state, theme
from influence.errors import RunError
from influence.run.reading import read_manifest

EVERY = 1.0
"""Seconds between two looks at a computation."""
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
        bad = {name: message for name, message in bad.items() if name not in demo.NAMES}
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
        watch(root)
        return
    if now.state == demo.FAILED:
        st.error(f"The example could not be computed. {escape.message(now.message)}", icon=":material/error:")
    elif now.state == demo.STOPPED:
        st.info("The computation was stopped. Its finished steps are kept.", icon=":material/info:")
    begun = now.state != demo.NONE
    st.button(
        "Resume computing the example" if begun else "Compute the example", type="primary", key="compute",
        icon=":material/play_arrow:", on_click=_start, args=(root,),
    )  # fmt: skip
    st.caption(
        "It takes a minute or two, goes on if you close this page, and sends nothing anywhere. The same in a terminal:"
    )
    st.code("upstream demo", language=None, wrap_lines=True)


@st.fragment(run_every=EVERY)
def watch(root: Path, steps: bool = True) -> None:
    """How far the computation is, looked at every second; the whole page is drawn again when something has ended.

    `steps` lists the finished ones, too.
    """
    now = demo.status(root)
    others = state.changed("runs", folder.names(root)[0])
    if others or now.state != demo.RUNNING:
        st.rerun()
    known = f"{now.fraction:.0%}" if now.fraction is not None else "…"
    st.progress(now.fraction or 0.0, text=escape.for_markdown(f"{now.step or 'starting'}: {known}"))
    if steps:
        done = "".join(f"<li>{theme.RIGHT} {escape.for_html(step)}, {seconds:.0f} s</li>" for step, seconds in now.done)
        st.html(f'<ul class="up-steps up-quiet">{done}</ul>')
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.button("Cancel", key="cancel", on_click=demo.stop, args=(root,), help="Finished steps are kept.")
        st.caption(f"{now.seconds:.0f} s so far. You may close this page; it goes on.")


def _start(root: Path) -> None:
    try:
        demo.start(root)
    except RunError as error:
        state.notice(escape.message(error))


def _own() -> None:
    st.html('<h2 class="up-title">Your own model</h2>')
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


def others(root: Path, bad: dict[str, str]) -> None:
    """Runs beside the shown one that cannot be opened, or are being computed."""
    if demo.status(root).state == demo.RUNNING:
        with st.expander("Another run is being computed", expanded=True):
            watch(root, steps=False)
        bad = {name: message for name, message in bad.items() if name not in demo.NAMES}
    if not bad:
        return
    with st.expander(f"{len(bad)} more {'run' if len(bad) == 1 else 'runs'} in this folder cannot be shown"):
        for message in bad.values():
            st.warning(escape.message(message), icon=":material/warning:")
