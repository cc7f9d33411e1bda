"""The examples whose other label would lower what is judged by most, each with its best label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from explorer.jobs import live
from explorer.panels.lists import order_only
from explorer.panels.repair import answers, listing, review
from explorer.panels.repair.subject import Subject
from explorer.runs import slices
from explorer.ui import amounts, escape, state, theme, widgets
from influence.live import RELABEL, Alteration
from influence.run import top

SPEAKS_HELP = (
    "What is judged by: the label that lowers it most. The other examples: the label that the stage's own model would "
    "give if it were trained without the example; that finds wrong labels."
)
MOST_SOLVED = 5_000
"""Examples that are looked at by the model without each of them."""
LARGEST_ANSWER = 2_000_000
"""Pairs of an example and a label that are predicted: 8 MB."""


def draw(subject: Subject, scores: np.ndarray) -> None:
    """Draw the list; `scores` tell whose labels are tried where there are too many to try all.

    Raises:
        UpstreamError: the run's models cannot be asked.
    """
    stage = escape.for_markdown(theme.stage_word(subject.stage))
    classes = classes_of(subject)
    if not classes:
        st.info(f"The examples of {stage} have no classes, so there is no label to correct.", icon=":material/info:")
        return
    own = widgets.choice("Rank by", state.SPEAKERS, state.SPEAKS, help=SPEAKS_HELP) == state.OWN
    tried, found = own_changes(subject) if own else changes(subject, scores)
    best = found.argmin(axis=1)
    gains = found[np.arange(len(found)), best]
    listed = top(gains, listing.LISTED_EXAMPLES, helpful=False)
    unit = theme.unit_of(gains, subject.run.unit(subject.method, subject.stage)) if own else subject.unit(gains)
    order_only.draw(amounts.lost(subject.run, subject.method, subject.stage))
    if own:
        st.markdown(
            f"The examples of {stage} whose label the others speak against: by the model trained without an example, "
            "its own loss with the best other label is lower by most.",
            help="To first order, as self-influence. It looks for wrong labels, whatever is judged by above.",
        )
    else:
        st.markdown(
            f"The examples of {stage} whose label is worth a look: with the best other label, "
            f"{escape.for_markdown(subject.judged.words)} is predicted to fall most.",
            help="To first order: each label changed alone.",
        )
        st.caption("A label that lowers the loss need not be the true one: look before you correct.")
    if len(tried) < len(subject.examples):
        kind = "examples of largest loss" if own else "most harmful examples"
        st.caption(f"Tried with the {len(tried):,} {kind}: all {len(subject.examples):,} would be slow.")
    rows = [tried[place] for place in listed.tolist()]
    if review.asked(subject, np.array(rows, dtype=np.int64)):
        review.draw(subject, np.array(rows, dtype=np.int64), scores)
        return
    labels = [classes[best[place]] for place in listed.tolist()]
    table = ranking(subject, rows, labels, gains[listed], unit)
    alt = "Training examples ranked by what their best other label would do"
    picked = listing.ticked(table, alt, "relabel", (heading(unit),))
    with st.container(horizontal=True, gap="small"):
        listing.put(
            subject, picked, len(rows), lambda places: relabelled(subject, [(rows[i], labels[i]) for i in places])
        )
        review.button(subject, np.array(rows, dtype=np.int64))
        listing.download(table, "relabel")


def classes_of(subject: Subject) -> list[str]:
    """The classes that the stage's examples can have as their label."""
    return [str(name) for name in subject.run.stage(subject.stage).classes]


def changes(subject: Subject, scores: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Rows of examples, and what each class as their label would do to what is judged by, (n, C).

    Raises:
        UpstreamError: the run's models cannot be asked.
    """
    run, judged = subject.run, subject.judged
    fit = LARGEST_ANSWER // len(classes_of(subject))
    rows = None if fit >= len(scores) else np.sort(np.argsort(scores, kind="stable")[:fit]).tolist()
    found = answers.once(
        (run.manifest.checksum, "labels", judged.criterion, subject.stage),
        lambda: live.labels(live.opened(run), judged.criterion, subject.stage, rows) * np.float32(judged.times),
    )
    return (list(range(len(scores))) if rows is None else rows), found


def own_changes(subject: Subject) -> tuple[list[int], np.ndarray]:
    """Rows of examples, and what each class as their label would do to their own loss without them, (n, C).

    Raises:
        UpstreamError: the run's models cannot be asked.
    """
    run, table = subject.run, subject.examples
    rows = None
    if len(table) > MOST_SOLVED and "loss" in table:
        rows = np.sort(np.argsort(-table["loss"].to_numpy(), kind="stable")[:MOST_SOLVED]).tolist()
    found = answers.once(
        (run.manifest.checksum, "own labels", subject.stage),
        lambda: live.own_labels(live.opened(run), subject.stage, rows),
    )
    return (list(range(len(table))) if rows is None else rows), found


def relabelled(subject: Subject, pairs: Sequence[tuple[int, str]]) -> list[Alteration]:
    """The edits that give the examples at these rows these labels."""
    ids = subject.examples["id"]
    return [Alteration(RELABEL, subject.stage, int(ids.iloc[row]), label) for row, label in pairs]


def heading(unit: theme.Unit) -> str:
    """Heading of the predicted changes."""
    return f"predicted change, {unit.words}"


def ranking(
    subject: Subject, rows: Sequence[int], labels: Sequence[str], gains: np.ndarray, unit: theme.Unit
) -> pd.DataFrame:
    """The listed examples, one a row, with their best labels."""
    places = np.array(rows, dtype=np.int64)
    columns = listing.shown(subject.examples.iloc[places])
    columns["best label"] = [theme.group_name(label) for label in labels]
    columns[heading(unit)] = gains * unit.factor
    columns["reasons"] = slices.reasons(subject.examples, places)
    columns["in basket"] = listing.in_basket(subject, places)
    return pd.DataFrame(columns)
