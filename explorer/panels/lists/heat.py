"""Where in a picture a score stems from: its patches coloured, and the strongest in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from explorer.ui import theme

ALONG = 7
"""Patches along the longer side of a picture: parts of a digit's stroke, and few enough for a small card."""
FAINTEST = 0.04
"""Patches with a smaller part of the largest share are left without colour."""
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
ABOUT = (
    "Each patch by what filling it with the mean around it would do: blue, whole: the loss would rise, so this part is "
    "helpful; orange, striped: it would fall, so this part is harmful. Each picture has its own scale."
)

LEGEND = {
    "shading": "Patches by what blanking them would do; darkest: the largest on the card",
    "helpful": f"{theme.HELPFUL} helpful",
    "harmful": f"{theme.HARMFUL} harmful",
}


def side_of(size: tuple[int, int]) -> int:
    """Side of a patch, for a picture of this width and height; pixels of the model's input."""
    return max(1, -(-max(size) // ALONG))


def of(patches: np.ndarray, size: tuple[int, int], unit: theme.Unit) -> dict[str, Any]:
    """The colours of a picture as the components draw them.

    Args:
        patches: (down, across) change of the loss with each patch filled, which has `side_of(size)` pixels a side, less
            at the right and lower edge; positive = the patch is helpful.
        size: width and height of the model's input, pixels.
        unit: of the changes.
    """
    largest = float(np.abs(patches).max(initial=0.0))
    shares = patches / largest if largest else np.zeros_like(patches)
    shown = np.where(np.abs(shares) >= FAINTEST, shares, 0.0)
    return {
        "columns": _parts(size[0], patches.shape[1], side_of(size)),
        "rows": _parts(size[1], patches.shape[0], side_of(size)),
        "shares": np.rint(100 * shown).astype(int).ravel().tolist(),
        "words": words(patches, unit),
    }


def _parts(length: int, count: int, side: int) -> list[int]:
    """Pixels of each of so many patches along an edge."""
    return [side] * (count - 1) + [length - side * (count - 1)]


def words(patches: np.ndarray, unit: theme.Unit) -> str:
    """The strongest patch in a sentence."""
    place = int(np.abs(patches).argmax())
    value = float(patches.flat[place])
    if not value:
        return "No patch does anything."
    where = place_words(*divmod(place, patches.shape[1]), *patches.shape)
    symbol, sign = (theme.HELPFUL, "helpful") if value > 0 else (theme.HARMFUL, "harmful")
    return f"Strongest patch: {where}, {symbol} {sign}; with it blank the loss would {theme.change_words(value, unit)}."


def place_words(row: int, column: int, down: int, across: int) -> str:
    """A place in a grid in words, such as "top left"."""
    named = ROWS[3 * row // down], COLUMNS[3 * column // across]
    return "centre" if named == ("middle", "centre") else " ".join(named)
