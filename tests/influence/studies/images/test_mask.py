"""A part of a picture blanked."""

from __future__ import annotations

import pytest
import torch

from influence.errors import StudyError
from influence.studies.images.mask import masked


def test_a_patch_takes_the_mean_of_what_lies_around_it():
    picture = torch.zeros(2, 8, 6)
    picture[0], picture[1, :, 5] = 0.5, 1.0
    picture[:, 2:4, 1:3] = 9.0
    changed = masked(picture, (1, 2, 2, 2))
    torch.testing.assert_close(changed[0], torch.full((8, 6), 0.5))
    assert not changed[1, 2:4, 1:3].any()  # the bright column is further away than the rim
    assert picture.max() == 9.0
    whole = masked(torch.arange(4.0).view(2, 2), (0, 0, 2, 2))
    torch.testing.assert_close(whole, torch.full((2, 2), 1.5))


@pytest.mark.parametrize("box", [(-1, 0, 2, 2), (5, 0, 2, 2), (0, 7, 2, 2), (0, 0, 0, 2), (0, 0, 2, 9)])
def test_a_patch_beyond_the_picture_is_named(box):
    with pytest.raises(StudyError, match="is no part of a picture of 6 x 8 pixels"):
        masked(torch.zeros(1, 8, 6), box)


@pytest.mark.parametrize("picture", [torch.zeros(3), torch.zeros(2, 2).long(), "a text"])
def test_what_is_no_picture_is_named(picture):
    with pytest.raises(StudyError, match="A mask needs pictures"):
        masked(picture, (0, 0, 1, 1))
