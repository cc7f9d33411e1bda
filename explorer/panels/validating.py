"""Checking a run from the page: what it takes, a button, progress; or why it cannot be done."""

from __future__ import annotations

import shlex

import streamlit as st

from explorer import jobs, plain
from explorer.panels import job
from influence.errors import UpstreamError
from influence.origin import asked_of
from influence.run import Run

WHAT = "validation"
SECONDS = 60
"""Time that the button's check may take."""


def draw(run: Run) -> None:
    """A first check if there is none, else going further."""
    if obstacle := why_not(run):
        st.info(obstacle, icon=":material/info:")
        return
    if run.validations:
        st.caption("What was retrained is kept, so the next minute goes further. For longer, in a terminal:")
    else:
        st.markdown(
            "Nothing of this run was checked yet. A check leaves training examples out, really trains again and "
            "compares what then happened with what the scores had predicted. Thoroughly, in a terminal:"
        )
    st.code(command(run), language="bash")
    busy = job.draw(run.path, WHAT)
    if not busy:
        st.button(
            f"Check {'further' if run.validations else 'it here'}, for about a minute", key="validate",
            icon=":material/play_arrow:", on_click=begin, args=(run,), type="primary",
        )  # fmt: skip
        st.caption("It goes on while you look at other pages, and everybody who opens this run sees what it finds.")


def begin(run: Run) -> None:
    """Begin a short check, or join the one that is under way."""
    arguments = ["validate", "--budget", f"{SECONDS}s", "--", str(run.path)]
    jobs.begin(run.path, WHAT, arguments, seconds=SECONDS)


def command(run: Run, budget: str = "10m") -> str:
    """What to type, as it is."""
    return (
        f"upstream validate {shlex.quote(run.path.name)} --runs {shlex.quote(str(run.path.parent))} --budget {budget}"
    )


def why_not(run: Run) -> str:
    """Why the run cannot be trained again from the page, as markdown; "" if nothing is known against it."""
    try:
        asked_of(run)
    except UpstreamError as error:
        return (
            f"This run cannot be trained again from here. {plain.message(error)} In a terminal: "
            f"`{command(run)} --study FILE.py:FUNCTION`"
        )
    return ""
