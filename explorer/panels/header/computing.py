"""What is being computed, or is still to be: how far it is, and what appears on the page when it is there."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from explorer.jobs import demo
from explorer.runs import folder
from explorer.ui import escape, state, theme
from influence.errors import RunError
from influence.run import MAP, SHARES, Run, read_manifest

EVERY = 1.0
"""Seconds between two looks at a computation."""
PARTS = {MAP: "the map with its neighbours", SHARES: "the shading of tokens"}
"""Pending parts in words; the others are methods."""


def draw(root: Path, run: Run | None, bad: dict[str, str]) -> None:
    """Below the header: what is still to come of the shown run and of others, and runs that cannot be shown."""
    now = demo.status(root)
    if now.state == demo.RUNNING:
        with st.container(key="computing"):
            watch(root, run)
    elif coming(run, now):
        if now.state == demo.FAILED:
            st.error(f"The rest could not be computed. {escape.message(now.message)}", icon=":material/error:")
        if run is not None and run.pending:
            _unfinished(root, run)
        if now.runs:
            button(root, now, "the rest")
    if now.state != demo.FAILED:
        bad = without(bad, now)
    if not bad:
        return
    with st.expander(f"{len(bad)} more {'run' if len(bad) == 1 else 'runs'} in this folder cannot be shown"):
        for message in bad.values():
            st.warning(escape.message(message), icon=":material/warning:")


def without(bad: dict[str, str], now: demo.Status) -> dict[str, str]:
    """Runs that cannot be shown, without those that the computation makes or goes on with."""
    return {name: message for name, message in bad.items() if name not in now.runs}


def coming(run: Run | None, now: demo.Status) -> str:
    """What is still to be computed, as markdown; "" if that is not known yet."""
    parts = [] if run is None else [PARTS.get(part, f"the scores by {part}") for part in run.pending]
    parts += [f"the model {name}" for name, readable in now.runs.items() if not readable]
    return escape.for_markdown(" and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]])))


@st.fragment(run_every=EVERY)
def watch(root: Path, run: Run | None = None, steps: bool = False) -> None:
    """How far the computation is; the whole page is drawn again when something has ended or was added to a run.

    `steps` lists the finished ones, too.
    """
    now = demo.status(root)
    if _news(root, run) or now.state != demo.RUNNING:
        st.rerun()
    known = f"{now.fraction:.0%}" if now.fraction is not None else "…"
    text = escape.for_markdown(f"{now.step or 'starting'}: {known}")
    if run is not None and (rest := coming(run, now)):
        text = f"Still being computed: {rest}. This appears here by itself. Now {text}"
    with st.container(horizontal=run is not None, vertical_alignment="center", gap="medium"):
        st.progress(now.fraction or 0.0, text=text)
        if steps:
            done = "".join(f"<li>{theme.RIGHT} {escape.for_html(step)}, {s:.0f} s</li>" for step, s in now.done)
            st.html(f'<ul class="up-steps up-quiet">{done}</ul>')
        with st.container(
            horizontal=True, vertical_alignment="center", gap="medium", width="content" if run else "stretch"
        ):
            st.button("Cancel", key="cancel", on_click=demo.stop, args=(root,), help="Finished steps are kept.")
            if run is None:
                st.caption(f"{now.seconds:.0f} s so far. You may close this page; it goes on.")


@st.fragment(run_every=EVERY)
def _unfinished(root: Path, run: Run) -> None:
    """The same of a run whose computation this folder does not know: it runs in a terminal, or was ended."""
    now = demo.status(root)
    if _news(root, run) or now.state == demo.RUNNING:
        st.rerun()
    st.caption(
        f"Run {escape.for_markdown(run.name)} is not complete: {coming(run, now)} will appear here as soon as it is "
        "there. If nothing computes it any more, the command that began the run goes on with it."
    )


def _news(root: Path, run: Run | None) -> bool:
    """Whether the folder has other runs than when this page looked last, or more of the shown one."""
    changed = state.changed("runs", folder.names(root)[0])
    try:
        return changed or (run is not None and read_manifest(run.path).checksum != run.manifest.checksum)
    except RunError:
        return True


def button(root: Path, now: demo.Status, what: str) -> None:
    """Starts the computation, or goes on with it."""
    begun = now.state != demo.NONE
    st.button(
        f"Resume computing {what}" if begun else f"Compute {what}",
        type="primary",
        key="compute",
        icon=":material/play_arrow:",
        on_click=_start,
        args=(root, now.study),
    )


def _start(root: Path, study: str) -> None:
    try:
        demo.start(root, study)
    except RunError as error:
        state.notice(escape.message(error))
