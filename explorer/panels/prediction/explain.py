"""The target of a stored prediction: the loss of its true class, as stored, or another one, computed live."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd

from explorer.jobs import live
from explorer.panels.prediction import completion, target
from explorer.runs import completions, queries
from explorer.ui import escape, state, theme, widgets
from explorer.view.view import View
from influence.errors import UpstreamError
from influence.live import Contrast, Span, Target
from influence.run import Run

TRUE, PREDICTED, MARGIN = TARGETS = ("True class", "Predicted class", "Margin")


def choose(run: Run, query: pd.Series) -> Target | None:
    """Draw the choice; None where the run's own scores are what is asked for.

    Without classes there is none to draw: a span is chosen in the text itself.
    """
    if not run.classes:
        position = queries.position_by_id(run.queries(), str(query["id"]))
        return None if position is None else completion.chosen(run, position)
    chosen = widgets.choice(
        "Explain",
        TARGETS,
        state.TARGET,
        help="True class: its loss, as the run has it. Predicted class: the loss of what the model said; the same if "
        "it was right. Margin: the loss of the one class minus that of another. The first choice other than the run's "
        "own takes some seconds.",
    )
    said, true = str(query["prediction"]), str(query["label"])
    if chosen == MARGIN:
        others = [name for name in run.classes if name != said]
        usual = true if true in others else others[0]
        against = target.pick(f"{escape.for_markdown(said)} rather than", others, usual, state.AGAINST, 190)
        return Contrast(said, against)
    return Contrast(said) if chosen == PREDICTED and said != true else None


def scores(run: Run, position: int, stage: str, wanted: Target | None) -> np.ndarray | None:
    """The target's scores of a stage, or None after saying why they cannot be had (or where the run's own will do)."""
    if wanted is None:
        return None
    try:
        opened = live.indexed(run)
        found = live.scores(opened, opened.stored(position), wanted)[stage]
        live.warn(run, opened)
        return found
    except UpstreamError as error:
        instead = "The loss of the true class" if run.classes else "The whole loss"
        state.notice(f"{escape.message(error)} {instead} is explained instead.")
        return None


def order_only(run: Run) -> tuple[str, ...]:
    """Why the size of the scores that were computed live means nothing; empty: they are in nats."""
    try:
        return tuple(live.opened(run).order_only)
    except UpstreamError:
        return ()  # nothing was computed


def explained(view: View, wanted: Target | None) -> View:
    """The view with the target's scores and their split over tokens; as it is where they cannot be had (said)."""
    position = view.query.position
    assert position is not None
    found = scores(view.run, position, view.stage, wanted)
    if found is None or wanted is None:
        return view
    opened = live.indexed(view.run)
    split = live.split(opened, opened.stored(position), wanted, view.stage)
    return dataclasses.replace(view, scores=found, split=split, target=wanted, told=order_only(view.run))


def question(query: pd.Series, wanted: Target | None, name: Callable[[object], str] = str) -> str:
    """The page's question, which names what is explained; `name` writes a class or a span.

    Where the model was wrong, the run's own scores are about the loss of the true class: why not that one.
    """
    if "prediction" not in query or isinstance(wanted, Span):
        return question_of_loss(completions.noun_of(query), wanted, name)
    said, true = query["prediction"], query["label"]
    against = true if wanted is None else wanted.against
    other = "" if against in (None, said) else f"{' and not' if wanted is None else ' rather than'} “{name(against)}”"
    return f"Why did the model say “{name(said)}”{other}?"


def question_of_loss(noun: str, wanted: Target | None, name: Callable[[object], str] = str) -> str:
    """The same where the model predicts no class, of a completion, a text or an item."""
    of = f"“{name(wanted.text)}”" if isinstance(wanted, Span) and wanted.text else f"this {noun}"
    return f"What does the loss on {of} come from?"


def rule(query: pd.Series, wanted: Target | None, stage: str) -> str:
    """The sign rule, as Streamlit markdown."""
    if wanted is not None:
        return target.rule(wanted, escape.for_markdown(stage))
    if "prediction" not in query:
        return theme.sign_rule(escape.for_markdown(stage), f"this {completions.noun_of(query)}")
    wrong = query["prediction"] != query["label"]
    true = f", of its true class “{escape.for_markdown(query['label'])}”" if wrong else ""
    return theme.sign_rule(escape.for_markdown(stage), f"this prediction{true}")
