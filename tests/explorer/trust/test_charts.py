"""What the Trust page's charts draw: places, samples, words."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import small_checks
from small_run import write_run

from explorer.trust import axis, charts, evidence
from explorer.trust.evidence import Figure
from explorer.ui import theme


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_checks.checked(write_run(tmp_path_factory.mktemp("runs"), "small"))


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-0.9, 3.1, ["0", "1", "2", "3"]),
        (-2500, 2500, ["-2,000", "-1,000", "0", "1,000", "2,000"]),
        (-1.05e-3, 1.05e-3, ["-0.0010", "-0.0005", "0.0000", "0.0005", "0.0010"]),
    ],
)
def test_ticks_are_round_and_in_place(low, high, texts):
    scale = axis.Scale(low, high)
    ticks = scale.ticks()
    assert [tick["text"].replace(theme.MINUS, "-") for tick in ticks] == texts
    for tick in ticks:
        value = float(tick["text"].replace(theme.MINUS, "-").replace(",", ""))
        assert tick["at"] == pytest.approx((value - low) / (high - low))


def test_axes_hold_what_is_drawn():
    scale = axis.around([1.0, math.nan, 3.0, math.inf], include=[0.0])
    assert scale.low < 0 < 3 < scale.high
    assert axis.around([]).low < 0 < axis.around([]).high
    assert axis.around([2.0]).at(2.0) == pytest.approx(0.5)
    assert axis.symmetric([0.0]).at(0.0) == 0.5
    assert scale.at(99.0) == 1.0


def test_a_sample_has_the_strongest_and_stays_the_same():
    pairs = pd.DataFrame({"predicted": np.random.default_rng(0).normal(size=5000)})
    first = charts.sampled(pairs, 100)
    assert len(first) == 100
    strongest = pairs["predicted"].abs().nlargest(50).index
    assert set(strongest) <= set(first.index)
    pd.testing.assert_frame_equal(first, charts.sampled(pairs, 100))
    assert charts.sampled(pairs.head(10), 100) is not None
    assert len(charts.sampled(pairs.head(10), 100)) == 10


def test_points_say_and_lead_to_what_they_are(run):
    pairs = evidence.left_out_singly(run, "pretrain", 3).assign(query=3)
    data = charts.scatter(
        pairs, run.examples("pretrain")["id"], run.queries()["id"], theme.Unit("mnat", 1e3), lambda e, q: f"{e}-{q}"
    )
    assert len(data["points"]) == len(pairs) == small_checks.LEFT_OUT
    row, point = pairs.iloc[0], data["points"][0]
    assert point["href"] == f"{row['example']}-1003"
    assert theme.Unit("mnat", 1e3).text(row["measured"]) in point["title"]
    assert {point["kind"] for point in data["points"]} == {"helpful", "harmful", "single"}
    # As predicted means on the diagonal.
    same = charts.scatter(
        pairs.assign(measured=pairs["predicted"]), run.examples("pretrain")["id"], run.queries()["id"],
        theme.Unit("nat", 1.0), lambda e, q: "",
    )  # fmt: skip
    assert all(point["x"] == point["y"] for point in same["points"])
    assert "r = 1.00" in same["alt"]


def test_scores_without_a_unit_have_an_axis_of_their_own(run):
    pairs = evidence.left_out_singly(run, "pretrain", 3).assign(query=3)
    pairs["predicted"] *= 1e6
    data = charts.scatter(
        pairs, run.examples("pretrain")["id"], run.queries()["id"], theme.Unit("", 1.0), lambda e, q: ""
    )
    assert data["x"]["title"] == "score, which has no unit"
    assert data["y"]["title"] == "measured change, mnat"
    assert max(point["y"] for point in data["points"]) > 0.7
    assert "as predicted" not in [line["title"] for line in data["lines"]]


def test_curves_start_at_nothing_and_end_with_all(run):
    data = charts.curves(run.validation("planted"))
    assert len(data["lines"]) == 4  # three finders, and chance
    assert all(line["points"][0] == [0, 0] and line["points"][-1] == [1, 1] for line in data["lines"])
    dashes = [line["dash"] for line in data["lines"][1:]]
    assert len(set(dashes)) == len(dashes)
    assert "10% of the labels flipped" in data["alt"]


def test_rows_share_an_axis_and_leave_out_what_is_not_known():
    rows = [
        charts.row("a", Figure(0.5, 0.4, 0.6, 3, "Words."), "0.5", other=0.45),
        charts.row("b", Figure(1.0, math.nan, math.nan, 3, ""), "1.0"),
        charts.row("c", Figure(math.nan, math.nan, math.nan, 0, ""), "?"),
    ]
    data = charts.rows(rows, "Things", include=(0.0, 1.0))
    a, b = data["rows"]
    assert a["low"] < a["other"] < a["at"] < a["high"] < b["at"]
    assert (b["low"], b["high"], b["other"]) == (None, None, None)
    assert data["alt"] == "Things. a: 0.5; b: 1.0"


def test_every_check_has_its_rows(run):
    assert [row["name"] for row in charts.subsets(run, "solution")] == ["50% kept", "90% kept"]
    assert charts.subsets(run, "scratch") == []
    removal = charts.removal(run, "solution", theme.Unit("mnat", 1e3))
    harmful = next(row for row in removal if row["name"] == "10% most harmful")
    assert (harmful["sign"], harmful["symbol"]) == ("harmful", theme.HARMFUL)
    assert harmful["at"] < 0
    assert harmful["other"] == pytest.approx(-0.02)
    assert "accuracy +2.0 points" in harmful["text"]
    assert charts.sanity(run)[0]["name"] == "the run's own"
    own = evidence.stays(run, "pretrain", 0)
    stability = {row["name"]: row for row in charts.stability(run, own)}
    assert stability["another damping"]["other"] == pytest.approx(own.shares["damping"])
    assert len(charts.noise(run, theme.Unit("mnat", 1e3))) == 3


def test_without_classes_there_is_no_accuracy(tmp_path):
    run = small_checks.checked(write_run(tmp_path, "small"), ["removal"])
    table = run.validation("removal").assign(accuracy=np.float32("nan"))
    run._tables[run.manifest.validation["removal"]] = table
    assert "accuracy" not in charts.removal(run, "solution", theme.Unit("nat", 1.0))[0]["text"]
