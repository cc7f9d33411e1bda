"""Regions of the map."""

import numpy as np
import pytest

from explorer.view import regions

SQUARE = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], dtype=float)


def test_inside_square():
    x, y = np.array([1, 3, 1, -1, 0.5]), np.array([1, 1, 3, 1, 1.9])
    assert regions.inside(SQUARE, x, y).tolist() == [True, False, False, False, True]


def test_inside_concave():
    arrow = np.array([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]], dtype=float)
    assert regions.inside(arrow, np.array([2.0, 0.3]), np.array([2.0, 1.0])).tolist() == [False, True]


def test_text_survives_the_url():
    text = regions.region_text(SQUARE[:, 0].tolist(), SQUARE[:, 1].tolist())
    assert text == "0_0~2_0~2_2~0_2"
    assert regions.parse_region(text).tolist() == SQUARE.tolist()


def test_long_lassos_are_thinned():
    angles = np.linspace(0, 6.28, 500)
    text = regions.region_text(np.cos(angles).tolist(), np.sin(angles).tolist())
    corners = regions.parse_region(text)
    assert 20 <= len(corners) <= regions.CORNERS
    assert regions.inside(corners, np.array([0.9]), np.array([0.0])).all()


@pytest.mark.parametrize(
    "text", ["", "abc", "1_2", "1_2~3_4", "1_2~3_4~5", "1_2~3_4~nan_1", "1_2_3~1_2_3~1_2_3", "1_2~3_4~inf_0"]
)
def test_bad_regions_are_none(text):
    assert regions.parse_region(text) is None


def test_too_few_corners_are_no_region():
    assert regions.region_text([1, 2], [1, 2]) is None
