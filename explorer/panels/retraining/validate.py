"""A check of the run, started from the page: its expected time and a button, or the reason why it cannot start."""

from __future__ import annotations

import shlex

import streamlit as st

from explorer.jobs import process
from explorer.runs import folder
from explorer.ui import escape
from influence.errors import UpstreamError
from influence.run import Run, asked_of

JOB = "validation"
BUDGETS = (60, 600)
"""Seconds that the button's check may take: of models that trained shortly, and of others."""
SHORT_TRAINING = 30
"""Seconds of training up to which enough retrainings fit the shorter budget."""
PREPARATION_SECONDS = 10
"""Seconds until then, besides the curvature."""


def draw(run: Run, busy: bool) -> None:
    """A first check if there is none, else going further; nothing to press while one is under way (`busy`)."""
    if checked(run):
        st.caption("What was retrained is kept, so that another check goes further. For longer, in a terminal:")
    else:
        st.markdown(
            "**Not known: nothing of this run was checked yet.** A check leaves training examples out, really trains "
            "again and compares what then happened with what the scores had predicted."
            + ("" if run.manifest.imported else " Thoroughly, in a terminal:")
        )
    obstacle = why_not(run)
    if run.manifest.imported:
        st.info(obstacle, icon=":material/info:")
        return
    st.code(
        command(run) + (" --study FILE.py:FUNCTION" if obstacle and not run.pending else ""),
        language=None,
        wrap_lines=True,
    )
    if obstacle:
        st.info(obstacle, icon=":material/info:")
        return
    if not busy:
        minutes = max(1, round(expected(run) / 60))
        st.button(
            f"Check {'further' if checked(run) else 'it here'}, in about {minutes} "
            f"{'minute' if minutes == 1 else 'minutes'}",
            key="validate",
            icon=":material/play_arrow:",
            on_click=begin,
            args=(run,),
            type="primary",
        )
        st.caption("It goes on while you look at other pages, and everybody who opens this run sees what it finds.")


def checked(run: Run) -> bool:
    """Whether any check of the run was made."""
    return run.validation("summary") is not None


def begin(run: Run) -> None:
    """Begin a short check, or join the one that is under way. What tells most in so little comes first."""
    arguments = ["validate", "--budget", f"{budget(run)}s", *folder.study_option(run), "--", str(run.path)]
    process.begin(run.path, JOB, arguments, seconds=expected(run))


def budget(run: Run) -> int:
    """Seconds of the button's check: longer where one retraining may take long."""
    return BUDGETS[sum(stage.training.seconds or 0 for stage in run.manifest.stages) > SHORT_TRAINING]


def expected(run: Run) -> float:
    """Seconds that a short check takes: its budget, and before that the curvature, as long as it took the run."""
    manifest = run.manifest
    return budget(run) + PREPARATION_SECONDS + manifest.timings.get(f"curvature ({manifest.default_method})", 0.0)


def command(run: Run) -> str:
    """The command for a terminal, unescaped."""
    return f"upstream validate {shlex.quote(run.path.name)} --runs {shlex.quote(str(run.path.parent))} --budget 10m"


def why_not(run: Run) -> str:
    """Why the run cannot be trained again from the page, as markdown; "" if nothing is known against it."""
    if run.pending:
        return "This run can be trained again when it is complete: some of it is still to be computed."
    try:
        asked_of(run, folder.function_of(run))
    except UpstreamError as error:
        return f"This run cannot be trained again from here. {escape.message(error)}"
    return ""
