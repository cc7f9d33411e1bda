"""The patches of a picture: their shares, their places in words, and grids that do not divide the picture."""

import numpy as np

from explorer.panels.lists import heat
from explorer.ui import theme

NATS = theme.Unit("nat", 1.0)


def test_shares_are_of_the_largest_and_faint_ones_go():
    patches = np.array([[0.2, -0.1], [0.001, 0.0]])
    assert heat.of(patches, (8, 8), NATS)["shares"] == [100, -50, 0, 0]


def test_patches_at_the_edges_are_smaller():
    assert heat.side_of((30, 20)) == 5
    sent = heat.of(np.ones((4, 7)), (32, 20), NATS)
    assert (sent["columns"], sent["rows"]) == ([5, 5, 5, 5, 5, 5, 2], [5, 5, 5, 5])
    assert heat.side_of((3, 2)) == 1


def test_the_strongest_is_told_with_its_place_and_sign():
    patches = np.zeros((7, 7))
    assert heat.words(patches, NATS) == "No patch does anything."
    patches[3, 3] = -0.5
    assert (
        heat.words(patches, NATS)
        == "Strongest patch: centre, ▼ harmful; with it blank the loss would fall by 0.50 nat."
    )
    patches[6, 0] = 0.7
    assert heat.words(patches, NATS).startswith("Strongest patch: bottom left, ▲ helpful")
    assert heat.words(patches, theme.Unit("", 1.0)).endswith("the loss would rise.")
    assert heat.place_words(0, 0, 1, 1) == "top left"
