"""Blank a part of a picture, so that it tells nothing there."""

from __future__ import annotations

from torch import Tensor

from influence.errors import StudyError

RIM = 2
"""Pixels around a patch that say what it is filled with."""


def masked(picture: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """The picture with a patch at the mean of what lies around it, channel by channel; black would be a shape itself.

    Args:
        picture: (..., height, width), as the model takes it.
        box: left, top, width and height of the patch, in pixels of the picture.

    Raises:
        StudyError: `picture` is no picture, or the patch does not lie within it.
    """
    if not isinstance(picture, Tensor) or picture.dim() < 2 or not picture.is_floating_point():
        raise StudyError("A mask needs pictures: tensors of real numbers that end in the dimensions height and width.")
    left, top, width, height = box
    tall, wide = picture.shape[-2:]
    if min(box) < 0 or width < 1 or height < 1 or left + width > wide or top + height > tall:
        raise StudyError(
            f"The mask {left},{top},{width},{height} (left, top, width, height) is no part of a picture of {wide} x "
            f"{tall} pixels, of at least 1 x 1."
        )
    patch = slice(top, top + height), slice(left, left + width)
    around = slice(max(0, top - RIM), top + height + RIM), slice(max(0, left - RIM), left + width + RIM)
    outer, inner = picture[..., *around], picture[..., *patch]
    count = outer.shape[-1] * outer.shape[-2] - width * height
    changed = picture.clone()
    rim = outer.sum((-2, -1)) - inner.sum((-2, -1))
    fill = rim / count if count else picture.mean((-2, -1))
    changed[..., *patch] = fill[..., None, None]
    return changed
