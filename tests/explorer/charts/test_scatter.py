"""Predicted against measured: points, their words, the line of what was predicted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from explorer.charts import scatter, template
from explorer.ui import theme

MNAT = theme.Unit("mnat", 1e3)


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    predicted = 1e-3 * rng.normal(size=12)
    kinds = ["helpful", "harmful", "random"] * 4
    return pd.DataFrame({"kind": kinds, "predicted": predicted, "measured": predicted + 1e-4 * rng.normal(size=12)})


def drawn(pairs, unit=MNAT, measured=MNAT, r=0.9, words=None):
    return scatter.scatter(pairs, words or [f"pair {place}" for place in range(len(pairs))], unit, measured, r)


def points(chart):
    return [trace for trace in chart.figure.data if trace.mode == "markers"]


def test_a_sample_has_the_strongest_and_stays_the_same():
    pairs = pd.DataFrame({"predicted": np.random.default_rng(0).normal(size=5000)})
    first = scatter.sampled(pairs, 100)
    assert len(first) == 100
    strongest = pairs["predicted"].abs().nlargest(50).index
    assert set(strongest) <= set(first.index)
    pd.testing.assert_frame_equal(first, scatter.sampled(pairs, 100))
    assert len(scatter.sampled(pairs.head(10), 100)) == 10


def test_every_pair_is_a_point_that_says_what_it_is(pairs):
    chart = drawn(pairs)
    found = {}
    for trace in points(chart):
        for row, x, y, words in zip(trace.customdata, trace.x, trace.y, trace.hovertext, strict=True):
            found[row] = (x, y, words, trace.marker.symbol, trace.marker.color)
    assert sorted(found) == list(range(12))
    for row, (x, y, words, symbol, colour) in found.items():
        assert x == pytest.approx(1e3 * pairs["predicted"][row])
        assert y == pytest.approx(1e3 * pairs["measured"][row])
        assert words == f"pair {row}"
        looks = [("triangle-up", template.HELPFUL), ("triangle-down", template.HARMFUL), ("circle", template.GREY)]
        assert (symbol, colour) == looks[row % 3]
    assert {trace.name for trace in points(chart)} == {words for words, *_ in scatter.KINDS.values()}
    assert "r = 0.90" in chart.alt
    assert "12 predicted" in chart.alt


def test_both_axes_have_one_scale_and_hold_all_that_is_drawn(pairs):
    figure = drawn(pairs).figure
    assert figure.layout.xaxis.range == figure.layout.yaxis.range
    low, high = figure.layout.xaxis.range
    assert low == -high
    assert high > 1e3 * pairs[["predicted", "measured"]].abs().to_numpy().max()
    (line,) = (trace for trace in figure.data if trace.mode == "lines")
    assert line.name == "as predicted"
    assert list(line.x) == list(line.y) == [low, high]


def test_scores_without_a_unit_have_an_axis_of_their_own(pairs):
    pairs["predicted"] *= 1e6
    figure = drawn(pairs, unit=theme.Unit("", 1.0)).figure
    assert figure.layout.xaxis.title.text == "score, which has no unit"
    assert figure.layout.yaxis.title.text == "measured change, mnat"
    assert figure.layout.yaxis.range[1] < 1e2 < figure.layout.xaxis.range[1]
    assert "as predicted" not in [trace.name for trace in figure.data]


def test_what_is_not_known_moves_no_axis(pairs):
    pairs.loc[0, "measured"], pairs.loc[1, "predicted"] = np.nan, np.inf
    assert np.isfinite(drawn(pairs).figure.layout.xaxis.range).all()
    assert drawn(pairs.assign(predicted=0.0, measured=0.0)).figure.layout.xaxis.range[1] > 0
    assert "r =" not in drawn(pairs, r=float("nan")).alt


def test_words_and_kinds_from_data_stay_text(pairs):
    hostile = "<img src=x onerror=alert(1)> %{x} #000001"
    figure = drawn(pairs.assign(kind=hostile), words=[hostile] * 12).figure
    (trace,) = points(drawn(pairs.assign(kind=hostile), words=[hostile] * 12))
    for text in (trace.name, trace.hovertext[0]):
        assert text == "&lt;img src=x onerror=alert(1)&gt; &#37;{x} &#35;000001"
    assert "<img" not in figure.to_json().replace("\\u003c", "<")
