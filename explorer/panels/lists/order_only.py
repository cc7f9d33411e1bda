"""Above lists whose scores are no nats as they stand: that only their order counts, or by what they are multiplied."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from explorer.ui import escape, state
from influence.run import Slope

REASON_CHARACTERS = 160
"""Characters of a reason that are shown; the page of notes has all of it."""


def draw(reasons: Sequence[str], slope: Slope | None = None) -> None:
    """Draw the line, if there are reasons (`Run.order_only`), or a slope makes amounts of the scores."""
    if reasons:
        st.html(html(reasons))
    elif slope:
        st.html(f'<p class="up-warned" role="note"><b>Scaled</b>: {escape.for_html(slope.words)}</p>')


def html(reasons: Sequence[str]) -> str:
    """The line as HTML; it leads to everything that the computation says."""
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    reason = escape.beginning(" ".join(reasons[0].split()), REASON_CHARACTERS)
    link = state.address(state.NOTES_PAGE)
    return (
        '<p class="up-warned" role="note"><span aria-hidden="true">⚠</span> <b>Order only</b>: how large these scores '
        f"are means nothing. <bdi>{escape.for_html(reason)}</bdi>{more} "
        f'<a href="{escape.for_html(link)}" target="_self">More on Notes →</a></p>'
    )
