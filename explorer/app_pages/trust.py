"""Trust: may one believe the lists? What really leaving examples out did, beside what the scores had predicted."""

from __future__ import annotations

import math

import numpy as np
import streamlit as st

from explorer.panels.retraining import job, validate
from explorer.panels.trust import check_tables, how_computed, limits, measured
from explorer.panels.trust import verdict as verdict_panel
from explorer.runs import queries
from explorer.trust import evidence, verdict
from explorer.ui import escape, state, theme, widgets
from influence.run import Run


def draw(run: Run) -> None:
    """Draw the page for one run.

    Raises:
        RunError: one of its tables cannot be read.
    """
    with st.container(key="trust"):
        widgets.heading("May I believe these lists?")
        if validate.checked(run):
            _checked(run)
        else:
            with st.container(width=760):
                validate.draw(run, job.draw(run.path, validate.JOB))
        left, right = st.columns(2, gap="large")
        with left:
            how_computed.draw(run)
        with right:
            limits.draw()
        if run.validations:
            check_tables.draw(run)


def allowed(run: Run) -> dict[str, tuple[str, ...]]:
    """What the URL may say for the page's widgets."""
    return {
        state.TRAINED: trainings(run) if len(trainings(run)) > 1 else (),
        state.WHOSE: (state.EVERY, state.THIS) if _position(run) is not None else (),
    }


def trainings(run: Run) -> tuple[str, ...]:
    """The ways of training again that the run was checked in."""
    known = evidence.starts(run)
    return tuple(name for name in state.TRAININGS if evidence.STARTS[name] in known)


def _checked(run: Run) -> None:
    found = verdict.of(run)
    verdict_panel.draw(found)
    position = _position(run)
    if position is not None:
        st.html(f'<p class="up-this">{escape.for_html(this_prediction(run, position))}</p>')
    busy = job.draw(run.path, validate.JOB)
    with st.expander(
        "How the verdict is reached; check further", key="further", expanded=found.level == verdict.UNKNOWN
    ):
        st.caption(verdict_panel.RULES)
        validate.draw(run, busy)
    with st.container(horizontal=True, gap="medium"):
        names = trainings(run)
        trained = names[0] if names else state.FROM_SOLUTION
        if len(names) > 1:
            trained = widgets.choice(
                "Trained again",
                names,
                state.TRAINED,
                help="From the solution: the models train on from where they stand, to the minimum next to it, which "
                "is what scores are about. From scratch: all stages begin at their random start.",
            )
        whose = state.EVERY
        if position is not None:
            whose = widgets.choice(
                "Whose losses",
                (state.EVERY, state.THIS),
                state.WHOSE,
                help="Of the scatter: all predictions, or the one that you came with.",
            )
    measured.draw(run, position, evidence.STARTS[trained], whose)


def _position(run: Run) -> int | None:
    """Row of the prediction that the visitor came with; None without one, or if there is none such (said)."""
    return state.parsed(
        state.QUERY,
        lambda text: queries.position_by_id(run.queries(), text),
        lambda text: f"This run has no prediction with id “{text}”; what is shown is of all.",
    )


def this_prediction(run: Run, position: int) -> str:
    """The results of the checks for one prediction's list, unescaped."""
    stage, number = evidence.stage_of(run), run.queries()["id"].iloc[position]
    own, singles = evidence.stays(run, stage, position), evidence.left_out_singly(run, stage, position)
    parts = [f"Prediction #{number}, with which you came:"]
    if own is not None:
        parts.append(f"of its {own.k} strongest examples of either sign stay, with {own.words()}.")
    if len(singles):
        r = evidence.correlation(singles["predicted"].to_numpy(), singles["measured"].to_numpy())
        parts.append(
            f"Over {len(singles)} examples that were really left out, its predicted and measured changes agree with "
            f"r = {theme.correlation(r)}."
        )
    rise = evidence.own_rise(run, stage, position, verdict.judged(run))
    if math.isfinite(rise):
        unit = theme.unit_of(np.array([rise]))
        parts.append(
            f"Without the 1 % that help it most its loss rose by {unit.text(rise)} {unit.name} more than "
            "without a random 1 %."
        )
    return " ".join(parts) if len(parts) > 1 else f"{parts[0]} nothing was checked for it alone."
