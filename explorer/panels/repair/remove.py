"""The examples that harm (or help) what is judged by most, to be left out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from explorer.panels.lists import order_only
from explorer.panels.repair import again, listing, review
from explorer.panels.repair.subject import Subject
from explorer.runs import slices
from explorer.ui import amounts, escape, state, theme, widgets
from explorer.view.criterion import LOSS
from influence.run import top


def draw(subject: Subject, scores: np.ndarray) -> None:
    """Draw the list by the `scores` of what is judged by, and the way to review it one by one."""
    unit, told = subject.unit(scores), amounts.lost(subject.run, subject.method, subject.stage)
    st.markdown(rule(subject), help=theme.sign_help(told))
    order_only.draw(told)
    count = len(subject.judged.positions)
    how = "Scores are summed over" if subject.judged.kind == LOSS else "Judged on"
    st.caption(f"{how} {count:,} {'prediction' if count == 1 else 'predictions'}.")
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        helpful = widgets.choice("Rank by", state.SIDES, state.SIDE) == state.HELP
        before = top(scores, listing.LISTED_EXAMPLES, helpful=helpful)
        reviewed = review.asked(subject, before)
        after = None if reviewed else again.choose(subject)
    if reviewed:
        review.draw(subject, before, scores)
        return
    listed = before if after is None else again.ranked(after, helpful)
    table = ranking(subject, listed, scores if after is None else after, unit)
    if after is not None:
        st.markdown(escape.for_markdown(again.words(subject, before, listed)))
        table.insert(0, "place", again.moves(before, listed))
    alt = "Training examples ranked by their scores for what is judged by"
    picked = listing.ticked(table, alt, "ranking", (heading(subject, unit), own(subject)))
    with st.container(horizontal=True, gap="small"):
        rows = listed.tolist()
        listing.put(subject, picked, len(rows), lambda places: subject.without([rows[place] for place in places]))
        review.button(subject, before)
        listing.download(table, "suspects")


def rule(subject: Subject) -> str:
    """The sign rule for what is judged by, as markdown."""
    stage = escape.for_markdown(theme.stage_word(subject.stage))
    if subject.judged.kind == LOSS:
        return theme.sign_rule(stage, "these predictions, summed up")
    return (
        f":blue[{theme.HELPFUL} **Helpful**]: leaving this example out of {stage} is predicted to *raise* "
        f"{escape.for_markdown(subject.judged.words)}. :orange[{theme.HARMFUL} **Harmful**]: to *lower* it."
    )


def heading(subject: Subject, unit: theme.Unit) -> str:
    """Heading of the scores."""
    return f"{'summed score' if subject.judged.kind == LOSS else 'score'}, {unit.words}"


def own(subject: Subject) -> str:
    """Heading of the examples' scores for their own losses, of which no retraining measures a slope."""
    return f"self-influence, {subject.run.unit(subject.method, subject.stage)}"


def ranking(subject: Subject, listed: np.ndarray, scores: np.ndarray, unit: theme.Unit) -> pd.DataFrame:
    """The listed examples, one a row, with what speaks against them."""
    table = subject.examples.iloc[listed]
    columns = listing.shown(table) | {heading(subject, unit): scores[listed] * unit.factor}
    if "self_influence" in table:
        columns[own(subject)] = table["self_influence"].to_numpy()
    columns["reasons"] = slices.reasons(subject.examples, listed)
    columns["in basket"] = listing.in_basket(subject, listed)
    return pd.DataFrame(columns)
