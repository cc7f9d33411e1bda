"""Curves of planted errors: where they start and end, and how they are told apart."""

from __future__ import annotations

import pandas as pd
import pytest

from explorer.charts import curves, template

SHARES = (0.0, 0.1, 0.5, 1.0)


def table(finders=("harm", "loss", "<b>own</b>")):
    return pd.DataFrame(
        [
            {
                "share": share, "finder": finder, "seed": seed, "checked": checked,
                "found": min(1.0, checked * (3 + seed)), "area": 0.8 + 0.1 * seed,
            }
            for share in (0.05, 0.1) for finder in (*finders, "random") for seed in (0, 1) for checked in SHARES
        ]
    )  # fmt: skip


def test_curves_start_at_nothing_and_end_with_all():
    chart = curves.curves(table())
    assert len(chart.figure.data) == 4  # three finders, and chance
    for trace in chart.figure.data:
        assert (trace.x[0], trace.y[0], trace.x[-1], trace.y[-1]) == (0, 0, 1, 1)
    assert chart.figure.data[0].y[1] == pytest.approx(0.35), "the mean of both seeds"
    assert chart.figure.data[0].hovertext[1].startswith("35% found in the first 10%")
    assert "10% of the labels flipped" in chart.alt
    assert "harm, these scores: area 0.85" in chart.alt


def test_lines_differ_in_colour_and_dash():
    own = curves.curves(table()).figure.data[:-1]
    assert len({trace.line.dash for trace in own}) == len({trace.line.color for trace in own}) == 3
    assert {trace.line.color for trace in own} <= set(template.LINES)


def test_a_finder_from_data_stays_text():
    trace = curves.curves(table()).figure.data[2]
    assert trace.name == "&lt;b&gt;own&lt;/b&gt;: area 0.85"
    assert trace.hovertext[1].endswith(trace.name)
