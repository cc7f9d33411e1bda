"""Paths of the data sets that are shipped with the package."""

from __future__ import annotations

from pathlib import Path

from influence.errors import StudyError

_PLACES = (Path(__file__).parents[1] / "data", Path(__file__).parents[2] / "data")
"""In an installed wheel, and in a checkout."""


def shipped_file(name: str) -> Path:
    """Path of the shipped file `name`, for example `digits/mnist_5k.npz`.

    Raises:
        StudyError: the installation lacks it.
    """
    for place in _PLACES:
        if (place / name).is_file():
            return place / name
    raise StudyError(
        f"The data file {name} is missing from this installation ({_PLACES[0]}). Install upstream-explorer again."
    )
