"""The histogram of scores: counts, ticks, words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from explorer.charts import histogram, template
from explorer.ui import theme

MNAT = theme.Unit("mnat", 1e3)
SCORES = 1e-3 * np.array([-2.0, -1.0, 0.0, 0.0, 0.1, 1.5], dtype=np.float32)
IDS = pd.Series([10, 11, 12, 13, 14, "<b>15"])


def drawn(limit=0.0):
    return histogram.histogram(SCORES, np.array([5, 0]), IDS, MNAT, "example", "Histogram.", limit)


def test_all_scores_are_counted_and_zero_is_in_the_middle():
    bars, _ = drawn().figure.data
    assert sum(bars.y) == 6
    assert min(bars.y) > 0, "nothing stands where there is nothing"
    assert bars.y[np.abs(bars.x).argmin()] == 2 + 0
    low, high = drawn().figure.layout.xaxis.range
    assert low == pytest.approx(-2.0)
    assert high == pytest.approx(2.0)
    assert "2 examples from" in bars.hovertext[np.abs(bars.x).argmin()]
    assert "1 example from" in bars.hovertext[0]


def test_the_axis_reaches_the_limit_that_another_histogram_has():
    assert drawn(limit=5e-3).figure.layout.xaxis.range == pytest.approx((-5.0, 5.0))


def test_one_example_is_a_stump_on_the_log_axis():
    axis = drawn().figure.layout.yaxis
    assert axis.type == "log"
    assert axis.range[0] < 0 < np.log10(2) < axis.range[1]
    assert axis.tickformat == ",d", "thousands are written as in Explore's histogram"


def test_every_listed_example_is_a_tick_in_the_colour_of_its_sign():
    _, ticks = drawn().figure.data
    assert list(ticks.x) == pytest.approx([1.5, -2.0])
    assert list(ticks.marker.line.color) == [template.HELPFUL, template.HARMFUL]
    assert ticks.hovertext == ("&#35;&lt;b&gt;15: +1.5 mnat", f"&#35;10: {theme.MINUS}2.0 mnat")


def test_equal_scores_and_none_listed_can_be_drawn():
    chart = histogram.histogram(np.zeros(4), np.array([], int), IDS, MNAT, "example", "Histogram.")
    assert sum(chart.figure.data[0].y) == 4
    assert len(chart.figure.data[1].x) == 0
    assert chart.alt == "Histogram."
