"""The plane's changes as the URL keeps them."""

import pytest

from explorer.lesson import plane


def test_nothing_changed_is_the_plane_as_it_is_at_first():
    assert plane.parse("") == plane.FIRST


def test_changes_are_read():
    shown = plane.parse("a=0.1_q=0.5,-1,1_4=-0.85,0.77,0_7=-1.04,1.05,0,out")
    assert shown.alpha == 0.1
    assert shown.query == plane.Point((0.5, -1.0), 1)
    assert shown.points[3] == plane.Point((-0.85, 0.77), 0)
    assert shown.points[:3] == plane.FIRST.points[:3]
    assert shown.left == {6}
    assert shown.data()["left"] == [6]


@pytest.mark.parametrize(
    "text",
    [
        "<b>", "4=1", "4=1,2", "4=1,2,3", "0=1,1,1", "99=1,1,1", "4=9,0,0", "q=0,0,2", "q=0,0,0,out", "a=-1", "a=0",
        "a=nan", "4=inf,0,0", "a=0.1__q=0,0,0", "_".join(f"{i}=0,0,0,out" for i in range(1, 22)),
    ],
)  # fmt: skip
def test_anything_else_is_refused(text):
    assert plane.parse(text) is None


def test_one_point_carries_another_label_than_its_neighbours():
    # The texts of the lesson speak of it.
    wrong = plane.FIRST.points[3]
    assert wrong.y == 1
    near = sorted(plane.FIRST.points, key=lambda p: (p.x[0] - wrong.x[0]) ** 2 + (p.x[1] - wrong.x[1]) ** 2)[1:5]
    assert {point.y for point in near} == {0}
