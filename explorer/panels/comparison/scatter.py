"""Every example's score on one side against that on the other."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from explorer import components
from explorer.panels.comparison import joined_lists
from explorer.runs import static_files
from explorer.ui import theme, widgets
from explorer.view import comparison, lists

HEIGHT = 440


def draw(pair: comparison.Pair) -> None:
    widgets.heading("All scores, A against B")
    source = static_files.plotly_js()
    if source is None:
        st.info(
            "The scatter needs a file that this server does not serve: static serving is off, or its folder cannot be "
            "written. Start the explorer with `upstream explore` to see it. Everything else on this page works."
        )
        return
    components.scatter(key="scatter", data=data(pair, source))
    dotted = " On the dotted line both scores are equal." if pair.one_unit else ""
    st.caption(
        f"A point an example. ● listed in both, □ in A only, ◇ in B only.{dotted} Rest on a point to see its example; "
        "press it to open its page."
    )


def data(pair: comparison.Pair, source: str) -> dict[str, Any]:
    """Data of the component. Arrays travel as base64: 20 bytes a point."""
    a, b = (lists.positions for lists in pair.lists)
    examples, units = pair.examples, pair.units
    codes, names = pd.factorize(examples["label"].fillna("").astype(str))
    return {
        "plotly": source,
        "x": components.packed(pair.a.scores * units[0].factor, "<f4"),
        "y": components.packed(pair.b.scores * units[1].factor, "<f4"),
        "id": components.packed(examples["id"], "<i8"),
        "label": components.packed(codes, "<i4"),
        "classes": [theme.group_name(name) for name in names],
        "both": np.intersect1d(a, b).tolist(),
        "only_a": np.setdiff1d(a, b).tolist(),
        "only_b": np.setdiff1d(b, a).tolist(),
        "units": [unit.name for unit in units],
        "x_title": f"score in A, {units[0].words}",
        "y_title": f"score in B, {units[1].words}",
        # The line of equal scores ends where one of the sides does: it must not stretch the other's axis.
        "equal": pair.one_unit,
        "limit": min(largest(pair)) * units[0].factor,
        "colours": dataclasses.asdict(theme.palette(st.context.theme.type)),
        "preview": static_files.previews(pair.a.run, pair.a.stage),
        "open": joined_lists.href(pair, ""),
        # Zoom is kept while the same two answers are shown.
        "revision": repr((pair.a.asked, pair.b.asked)),
        "height": HEIGHT,
        "alt": f"Scatter of {len(examples):,} scores in A against those in B, rank correlation "
        f"{pair.correlation:.2f}; a table is at the end of the page.",
    }


def largest(pair: comparison.Pair) -> tuple[float, float]:
    """The largest absolute score of either side."""
    a, b = (lists.largest(side.scores) for side in (pair.a, pair.b))
    return a, b
