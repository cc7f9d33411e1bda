"""Verify this one: a prediction's list beside its derivative through the training's steps, or beside training again."""

from __future__ import annotations

import numpy as np
import streamlit as st

from explorer.jobs import process
from explorer.panels.comparison import agreement, joined_lists
from explorer.panels.retraining import job, retrain, validate
from explorer.runs import folder
from explorer.ui import escape, theme
from explorer.view import comparison, lists
from explorer.view.view import View
from influence.run import Replayed, Run, by_steps, replayed

REPLAY_COST = 8
"""Expected seconds for each second of the run's own trainings: four repetitions, and one pass backwards."""


def draw(view: View) -> None:
    """Draw it for a prediction of the run, whose loss is explained."""
    if view.query.position is None or view.target is not None or view.run.manifest.imported:
        return
    with st.expander("Verify this one", icon=":material/verified:", key="verify"):
        if by_steps(view.run, view.stage):
            _replayed(view, view.query.position)
        else:
            _left_out(view, view.query.position)


def seconds(run: Run) -> float:
    """Seconds that replaying one prediction is expected to take."""
    return REPLAY_COST * sum(stage.training.seconds or 0 for stage in run.manifest.stages)


def _replayed(view: View, position: int) -> None:
    """The list beside that of the exact derivative, or the way to it."""
    run, found = view.run, replayed(view.run, view.stage, position)
    if found is not None:
        known = found.scores
        own = comparison.Side(
            run, view.query, view.stage, view.method, None, view.scores, view.listed, view.sampled, view.told
        )
        pair = comparison.Pair(own, comparison.Side(run, view.query, view.stage, "replay", None, known), view.count)
        st.caption(
            "A is this run's list, B that of the exact derivative through the steps of all trainings, which assumes no "
            "minimum."
        )
        st.markdown(escape.for_markdown(really(view, found)))
        agreement.draw(pair)
        joined_lists.draw(pair)
        return
    st.caption(
        "This stage was trained by mini-batches. The run's scores assume that its training ended at a minimum. The "
        "trainings can be repeated and recorded, and this prediction's derivative taken back through every step of "
        "them, exactly."
    )
    if obstacle := validate.why_not(run):
        st.caption(obstacle)
        return
    number = view.query.row["id"]
    what = f"verify-{view.stage}-{number}"
    if job.draw(run.path, what):
        return
    expected = seconds(run)
    st.button(
        f"Replay it, in about {expected:.0f} s" if expected < 120 else f"Replay it, in about {expected / 60:.0f} min",
        key=what,
        icon=":material/replay:",
        on_click=_begin,
        args=(run, what, view.stage, int(number)),
    )


def really(view: View, found: Replayed) -> str:
    """What really leaving out the strongest example of either list did, beside what both say of it."""
    ids, said, agrees = view.examples["id"].to_numpy(), [], True
    times = view.slope.times if view.slope else 1.0
    for example, measured in found.measured.items():
        own, exact = times * float(view.scores[example]), float(found.scores[example])
        listed = "" if view.order_only else f"A {theme.signed(own)}, "
        said.append(
            f"without #{ids[example]} its loss changed by {theme.signed(measured)} nats "
            f"({listed}B {theme.signed(exact)})"
        )
        agrees &= not measured or 0.5 <= exact / measured <= 2
    told = f"Really trained again from scratch: {'; '.join(said)}."
    if agrees:
        return told
    return (
        f"{told} B does not predict that: this training is not smooth in its data, and no derivative of it tells what "
        "leaving out a whole example does."
    )


def _begin(run: Run, what: str, stage: str, number: int) -> None:
    arguments = ["verify", "--stage", stage, *folder.study_option(run), "--", str(run.path), str(number)]
    process.begin(run.path, what, arguments, seconds=seconds(run))


def _left_out(view: View, position: int) -> None:
    """The helpful list left out, and the stages really trained again: the truth where they stand at minima."""
    rows = lists.ranked(view.scores, view.count, view.listed).helpful.tolist()
    if not rows or rows == [view.example]:  # the latter is offered beside the map
        return
    training = view.run.stage(view.stage).training
    why = (
        "This stage was trained full batch, towards a minimum, so there are"
        if training.iterations
        else "This model came trained: it has"
    )
    st.caption(
        f"{why} no steps to replay. What can be done is the truth itself: "
        f"leave out the {len(rows)} that help this prediction most, and train on from the solution without them. It "
        "takes less than training did."
    )
    retrain.draw(view.run, view.stage, view.method, rows, np.array([position]))
