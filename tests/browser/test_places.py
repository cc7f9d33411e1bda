"""Which points of a map are drawn: the script in the browser against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

COMPONENTS = Path(__file__).parents[2] / "explorer" / "components"
MANY, MOST = 100_000, 20_000
CHOSEN = """([x, y, value, view]) => {
  const m = { x: Float32Array.from(x), y: Float32Array.from(y), value: Float32Array.from(value) };
  const first = bounds(m), found = drawnPlaces(m, view ?? first);
  return { first, drawn: Array.from(found.drawn), inside: found.inside };
}"""


@pytest.fixture
def chosen(context):
    """Ask the script for the first view and what is drawn in it, or in another one."""
    page = context.new_page()
    page.add_script_tag(content=(COMPONENTS / "points" / "places.js").read_text())
    yield lambda x, y, value=(), view=None: page.evaluate(CHOSEN, [*(list(map(float, v)) for v in (x, y, value)), view])
    page.close()


def test_of_many_points_the_strongest_and_an_even_sample_are_drawn(chosen):
    rng = np.random.default_rng(0)
    x, y, value = rng.normal(size=(3, MANY)).astype("float32")
    found = chosen(x, y, value, [[-9, 9], [-9, 9]])
    assert found["inside"] == MANY
    assert abs(len(found["drawn"]) / MOST - 1) < 0.1
    strongest = np.argsort(-np.abs(value))
    drawn = set(found["drawn"])
    assert set(strongest[: int(0.45 * MOST)].tolist()) <= drawn
    rest = [place for place in strongest[MOST:].tolist() if place in drawn]
    assert abs(np.mean(np.array(rest) < MANY / 2) - 0.5) < 0.03, "evenly over the data"
    assert chosen(x, y, value, [[-9, 9], [-9, 9]])["drawn"] == found["drawn"]


def test_a_part_of_few_points_is_drawn_whole(chosen):
    x, y = np.random.default_rng(1).normal(size=(2, MANY)).astype("float32")
    found = chosen(x, y, (), [[0, 0.5], [0, 0.5]])
    inside = (x >= 0) & (x <= 0.5) & (y >= 0) & (y <= 0.5)
    assert found["drawn"] == np.flatnonzero(inside).tolist()


def test_the_first_view_leaves_out_only_a_few_that_lie_far_out(chosen):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 5000)).astype("float32")
    (left, right), (bottom, top) = chosen(x, y)["first"]
    assert left < x.min() < x.max() < right
    assert bottom < y.min() < y.max() < top
    x[:20] += 1000
    found = chosen(x, y)
    assert found["first"][0][1] < 10
    assert 4900 < found["inside"] <= 4980
    x[20:300] += 1000  # now too many to be left out
    assert chosen(x, y)["inside"] == 5000


def test_no_points_and_one_point_have_a_view(chosen):
    assert chosen([], [])["first"] == [[-1, 1], [-1, 1]]
    ((left, right), _) = chosen([3], [4])["first"]
    assert left < 3 < right
