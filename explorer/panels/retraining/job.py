"""A computation that waits or is under way: how far it is, and a way to stop it; what went wrong if it failed."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from explorer.jobs import process
from explorer.ui import escape


def draw(run: Path, what: str) -> bool:
    """Draw what waits or is under way for the run in that folder, or how `what` ended; whether there is something."""
    job = process.of(run)
    if job is None:
        return False
    if not job.over:
        if job.what != what:
            st.caption("Another computation of this run is under way; one at a time is computed.")
        _progress(run, what)
        return True
    if job.what == what and job.state in (process.FAILED, process.CANCELLED):
        with st.container(horizontal=True, vertical_alignment="center"):
            if job.state == process.FAILED:
                st.error(escape.message(job.problem), icon=":material/error:")
            else:
                st.info("Cancelled. What was finished is kept: the next time goes on from there.")
            st.button("Dismiss", key=f"dismiss-{what}", on_click=process.forget, args=(run,))
    return False


@st.fragment(run_every=1.0)
def _progress(run: Path, what: str) -> None:
    job = process.of(run)
    if job is None or job.over:
        st.rerun()
        return
    with st.container(horizontal=True, vertical_alignment="center", key=f"job-{what}"):
        st.progress(job.share, text=text(job))
        st.button("Cancel", key=f"cancel-{what}", on_click=job.cancel, help="Stop it. What is finished is kept.")


def text(job: process.Job) -> str:
    """The step under way or what it waits for, and the time so far, as markdown."""
    if job.state == process.WAITING:
        return f"{escape.for_markdown(job.step)}: one computation at a time · {_time(job.elapsed)}"
    of = f" of about {_time(job.seconds)}" if job.seconds else ""
    return f"{escape.for_markdown(job.step)} · {_time(job.elapsed)}{of}"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
