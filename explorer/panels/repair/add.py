"""The held-out examples that would lower what is judged by most if a stage were trained on them besides."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from explorer.jobs import live
from explorer.panels.lists import order_only
from explorer.panels.repair import answers, listing
from explorer.panels.repair.subject import Subject
from explorer.ui import escape, theme
from influence.live import ADD, Alteration
from influence.run import top

LARGEST_POOL = 10_000
"""Examples of a pool that are tried, the first."""


def draw(subject: Subject, scores: np.ndarray) -> None:
    """Draw the list; `scores` are of the examples that there are.

    Raises:
        UpstreamError: the run's models cannot be asked.
    """
    stage = escape.for_markdown(theme.stage_word(subject.stage))
    pool = live.opened(subject.run).what_if.pool(subject.stage)
    if pool is None:
        st.info(
            f"The run holds no examples that {stage} could be trained on besides: its predictions are of the last "
            "stage, and of another form. In a terminal, `upstream what-if --add FILE` takes a file.",
            icon=":material/info:",
        )
        return
    rows, judges = candidates(pool, subject.judged.positions)
    changes = _changes(subject, pool.iloc[rows])
    listed = top(changes, listing.LISTED_EXAMPLES, helpful=False)
    unit = subject.unit(changes)
    order_only.draw(subject.run.order_only(subject.method, subject.stage))
    st.markdown(
        f"The run's predictions as examples for {stage}: trained on besides, these are predicted to lower "
        f"{escape.for_markdown(subject.judged.words)} most.",
        help="To first order: each added alone. The mean over the stage's examples keeps its denominator.",
    )
    st.caption(
        "All predictions are judged, so what is added is judged, too: better judge by a part of them."
        if judges
        else f"From {len(rows):,} predictions with their true labels; those that are judged are left aside."
    )
    chosen = pool.iloc[rows[listed]]
    table = ranking(subject, chosen, changes[listed], unit)
    alt = "Held-out examples ranked by what adding them would do"
    picked = listing.ticked(table, alt, "add", (heading(unit),))
    with st.container(horizontal=True, gap="small"):
        listing.put(subject, picked, len(table), lambda places: added(subject, chosen.iloc[list(places)]))
        listing.download(table, "add")


def candidates(pool: pd.DataFrame, judged: np.ndarray) -> tuple[np.ndarray, bool]:
    """Rows of the pool that are offered, and whether they are among what is judged: only if there are no others."""
    others = np.setdiff1d(np.arange(len(pool)), judged)
    rows = others if len(others) else np.arange(len(pool))
    return rows[:LARGEST_POOL], not len(others)


def _changes(subject: Subject, pool: pd.DataFrame) -> np.ndarray:
    run, judged = subject.run, subject.judged
    return answers.once(
        (run.manifest.checksum, "additions", judged.criterion, subject.stage),
        lambda: live.additions(live.opened(run), judged.criterion, subject.stage, pool) * float(judged.times),
    )


def added(subject: Subject, chosen: pd.DataFrame) -> list[Alteration]:
    """The edits that add some predictions of the run to the stage."""
    return [Alteration(ADD, subject.stage, int(number)) for number in chosen["id"]]


def heading(unit: theme.Unit) -> str:
    """Heading of the predicted changes."""
    return f"predicted change, {unit.words}"


def ranking(subject: Subject, chosen: pd.DataFrame, changes: np.ndarray, unit: theme.Unit) -> pd.DataFrame:
    """The listed examples, one a row, with what the model says of them now."""
    columns = listing.shown(chosen)
    if "prediction" in chosen:
        columns["predicted"] = [theme.group_name(said) for said in chosen["prediction"]]
    columns[heading(unit)] = changes * unit.factor
    columns["in basket"] = ["added" if each in subject.basket else "" for each in added(subject, chosen)]
    return pd.DataFrame(columns)
