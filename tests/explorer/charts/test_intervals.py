"""Rows of values with intervals: one axis, what is not known, words."""

from __future__ import annotations

import math

import pytest

from explorer.charts import intervals, template
from explorer.charts.intervals import Row

NAN = math.nan
ROWS = [
    Row("a", 0.5, 0.4, 0.6, "0.5, fine", "Words.", other=0.45, sign="helpful", detail="12 subsets"),
    Row("b", 1.0, NAN, NAN, "1.0"),
    Row("c", NAN, NAN, NAN, "?"),
]


def test_rows_share_an_axis_and_leave_out_what_is_not_known():
    chart = intervals.intervals(ROWS, "Things", include=(0.0, 1.0), factor=100, unit="%", other="the chosen one")
    bars, diamonds, dots = chart.figure.data
    assert list(dots.x) == [50, 100]
    assert list(dots.y) == [1, 0], "the first row stands on top"
    assert [bars.x[0], bars.x[1], bars.x[2]] == [40, 60, None]
    assert list(diamonds.x) == [45]
    assert diamonds.name == "the chosen one"
    low, high = chart.figure.layout.xaxis.range
    assert low < 0 < 100 < high
    assert chart.figure.layout.yaxis.range == chart.figure.layout.yaxis2.range
    assert chart.alt == "Things. a 12 subsets: 0.5, fine; b: 1.0"
    assert chart.figure.layout.height > intervals.intervals(ROWS[:1], "Things").figure.layout.height


def test_names_stand_before_and_values_behind_their_rows():
    layout = intervals.intervals(ROWS, "Things").figure.layout
    assert "▲</span> a<br>" in layout.yaxis.ticktext[0]
    assert "12 subsets" in layout.yaxis.ticktext[0]
    assert layout.yaxis.ticktext[1] == "b"
    assert layout.yaxis2.ticktext == ("0.5<br>fine", "1.0")
    assert list(layout.yaxis.tickvals) == list(layout.yaxis2.tickvals) == [1, 0]


def test_the_sign_colours_its_point_and_the_legend_names_what_there_is():
    bars, diamonds, dots = intervals.intervals(ROWS, "Things").figure.data
    assert list(dots.marker.color) == [template.HELPFUL, template.TEXT]
    assert bars.showlegend
    assert diamonds.showlegend
    bars, diamonds, _ = intervals.intervals(ROWS[1:], "Things").figure.data
    assert not bars.showlegend
    assert not diamonds.showlegend


@pytest.mark.parametrize(("rows", "include"), [([], ()), ([Row("a", 2.0, NAN, NAN, "2")], ()), (ROWS[2:], (1.0,))])
def test_an_axis_always_has_a_length(rows, include):
    low, high = intervals.intervals(rows, "Things", include=include).figure.layout.xaxis.range
    assert math.isfinite(low)
    assert low < high


def test_names_and_words_from_data_stay_text():
    row = Row("<b>a", 0.5, 0.4, 0.6, "<i>x</i>", "Read <script>alert(1)</script> " * 5, detail="<u>")
    chart = intervals.intervals([row], "Things")
    assert "<script" not in chart.figure.data[2].hovertext[0]
    assert "&lt;script&gt;" in chart.figure.data[2].hovertext[0]
    assert "&lt;b&gt;a<br>" in chart.figure.layout.yaxis.ticktext[0]
    assert "&lt;u&gt;" in chart.figure.layout.yaxis.ticktext[0]
    assert chart.figure.layout.yaxis2.ticktext == ("&lt;i&gt;x&lt;/i&gt;",)
