"""How steady a prediction's list is, in a line that leads to the Trust page."""

from __future__ import annotations

import dataclasses

import numpy as np
import streamlit as st

from explorer.trust import evidence, verdict
from explorer.ui import escape, state, theme
from explorer.view.view import View
from influence.run import Run

STEADY = {verdict.YES: ("●", "Steady"), verdict.PARTLY: ("◐", "Partly steady"), verdict.NO: ("○", "Unsteady")}
"""How many of a list stay, at the fewest -> symbol and word."""
UNKNOWN = "One run, stability unknown"
UNSETTLED = "; not trained to a minimum"


@dataclasses.dataclass(frozen=True)
class Badge:
    """A symbol, words, and what they are based on; `known` false: nothing was checked."""

    symbol: str
    words: str
    detail: str
    known: bool


def draw(view: View) -> None:
    """Draw the badge of a stored prediction."""
    position = view.query.position
    assert position is not None
    badge = of(view.run, view.stage, position, view.lists.positions, view.unit)
    st.html(html(badge, view.query.row["id"]))


def html(badge: Badge, query: object) -> str:
    """The badge as a link; `query` is the prediction's id."""
    link = state.address(state.TRUST_PAGE, query=query)
    kind = "" if badge.known else " up-quiet"
    return (
        f'<a class="up-badge{kind}" href="{escape.for_html(link)}" title="{escape.for_html(badge.detail)}">'
        f'<span aria-hidden="true">{badge.symbol}</span> {escape.for_html(badge.words)} →</a>'
    )


def of(run: Run, stage: str, position: int, shown: np.ndarray, unit: theme.Unit) -> Badge:
    """How many of a query's list stay under other settings and seeds, and how many were really left out.

    `position` is the query's row, `shown` are rows of the listed examples.
    """
    own, tried = evidence.stays(run, stage, position), really(run, stage, position, shown, unit)
    where = UNSETTLED if evidence.unsettled(run) else ""
    left_out = f"{len(tried)} of those shown {'was' if len(tried) == 1 else 'were'} really left out" if tried else ""
    if own is None:
        words = f"{UNKNOWN}; {left_out}" if left_out else UNKNOWN
        return Badge(
            "?", words + where, " ".join(tried) or "No check of this run tells. Press to see what can be done.", False
        )
    symbol, word = STEADY[verdict.graded(own.fewest / own.k, verdict.STAYS)]
    kept = f"{own.fewest}" if own.fewest == own.most else f"{own.fewest} to {own.most}"
    words = f"{word}: {kept} of {own.k} stay under other settings" + (f"; {left_out}" if left_out else "")
    detail = f"Of the {own.k} strongest of either sign stay, with {own.words()}."
    return Badge(symbol, words + where, " ".join([detail, *tried]), True)


def really(run: Run, stage: str, position: int, shown: np.ndarray, unit: theme.Unit) -> list[str]:
    """A sentence for each of the shown examples that a check left out alone."""
    singles = evidence.left_out_singly(run, stage, position).drop_duplicates("example").set_index("example")
    ids = run.examples(stage)["id"]
    measured_unit = unit if unit.name and unit.slope == 1 else theme.unit_of(singles["measured"].to_numpy())
    found = []
    for place in shown.tolist():
        if place in singles.index:
            row = singles.loc[place]
            predicted = f"predicted {unit.text(float(row['predicted']))}, " if unit.name else ""
            measured = f"measured {measured_unit.text(float(row['measured']))} {measured_unit.name}"
            found.append(f"#{ids.iloc[place]}: {predicted}{measured}.")
    return found
