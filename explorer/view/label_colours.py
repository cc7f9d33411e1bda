"""Colours of labels on the map. Two labels never share a colour; labels beyond the palette are grey."""

from __future__ import annotations

import pandas as pd

from explorer.ui import theme
from influence.run import class_order


def coloured(labels: pd.Series, chosen: str | None = None) -> dict[str, str]:
    """Colour of each label that has one, in the order of the legend; all others are grey.

    As many labels as there are colours get one each. Of more, the biggest get them, and the `chosen` one in any case;
    grey, and examples without a label, are then the rest.
    """
    sizes = labels.value_counts()
    sizes = sizes[[bool(str(name).strip()) for name in sizes.index]]
    if len(sizes) <= len(theme.CLASS_COLOURS):
        return dict(zip(class_order(sizes.index), theme.CLASS_COLOURS, strict=False))
    colours = [colour for colour in theme.CLASS_COLOURS if colour not in theme.GREYS]
    # By name where sizes are equal, so that the same run looks the same everywhere.
    biggest = sorted(sizes.index, key=lambda name: (-sizes[name], name))[: len(colours)]
    if chosen in sizes.index and chosen not in biggest:
        biggest[-1] = chosen
    return dict(zip(class_order(biggest), colours, strict=True))
