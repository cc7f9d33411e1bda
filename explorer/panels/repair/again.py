"""Rank again: the list as it would be with the basket's edits made, and who leaves and who enters it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from explorer.jobs import live
from explorer.panels.repair import answers, listing
from explorer.panels.repair.subject import Subject
from explorer.ui import escape, state
from influence.errors import UpstreamError
from influence.run import top

NAMED = 8
"""Examples that a sentence names."""


def choose(subject: Subject) -> np.ndarray | None:
    """Draw the choice; the scores with the edits made, (m,), NaN of what is left out; None if they are not asked for.

    That they cannot be had is said.
    """
    if not subject.basket:
        return None
    wanted = st.toggle(
        "Rank again with these edits made",
        key=state.AGAIN,
        bind="query-params",
        help="The scores that the examples would have if the edits in the basket had been made.",
    )
    if not wanted:
        return None
    try:
        return _scores(subject)
    except UpstreamError as error:
        st.info(f"The list cannot be ranked again. {escape.message(error)}", icon=":material/info:")
        return None


def _scores(subject: Subject) -> np.ndarray:
    run, criterion, made = subject.run, subject.judged.criterion, tuple(subject.basket)
    return answers.once(
        (run.manifest.checksum, "after", criterion, subject.stage, made),
        lambda: live.after(live.opened(run), criterion, subject.stage, made) * float(subject.judged.times),
    )


def ranked(scores: np.ndarray, helpful: bool) -> np.ndarray:
    """Rows of the first, as `top`; what is left out has no score and no rank."""
    return top(np.nan_to_num(scores), listing.LISTED_EXAMPLES, helpful=helpful)


def words(subject: Subject, before: np.ndarray, after: np.ndarray) -> str:
    """Who leaves and who enters, in sentences, unescaped."""
    leaving = [row for row in before.tolist() if row not in set(after.tolist())]
    entering = [row for row in after.tolist() if row not in set(before.tolist())]
    made = "this edit" if len(subject.basket) == 1 else f"these {len(subject.basket)} edits"
    if not leaving and not entering:
        return f"With {made} made, the same {len(after)} examples are listed."
    said = []
    if leaving:
        verb = "leaves" if len(leaving) == 1 else "leave"
        said.append(f"{len(leaving)} of the first {len(before)} {verb}: {_named(subject, leaving)}.")
    if entering:
        said.append(f"{len(entering)} {'enters' if len(entering) == 1 else 'enter'}: {_named(subject, entering)}.")
    return f"With {made} made, " + " ".join(said)


def _named(subject: Subject, rows: Sequence[int]) -> str:
    ids = ", ".join(
        f"#{subject.examples['id'].iloc[row]}" + (" (edited)" if subject.changes(row) else "") for row in rows[:NAMED]
    )
    return ids + (f" and {len(rows) - NAMED} more" if len(rows) > NAMED else "")


def moves(before: np.ndarray, after: np.ndarray) -> list[str]:
    """Of each example of the new list, in words: that it enters, stays, or by how many places it went up or down."""
    places = {row: place for place, row in enumerate(before.tolist())}
    told = []
    for place, row in enumerate(after.tolist()):
        by = places[row] - place if row in places else None
        told.append("enters" if by is None else "stays" if by == 0 else f"{'up' if by > 0 else 'down'} {abs(by)}")
    return told
