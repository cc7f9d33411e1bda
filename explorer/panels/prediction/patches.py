"""Where in the pictures of the cards a score stems from, computed live for those that are shown."""

from __future__ import annotations

import dataclasses

import numpy as np

from explorer.jobs import live
from explorer.panels.lists import heat
from explorer.ui import escape, state
from explorer.view.view import View
from influence.errors import UpstreamError
from influence.live import Criterion


def shown(view: View) -> View:
    """The view with the patches of its pictures, if that is asked for; as it is where they cannot be had (said)."""
    if view.shading != state.PATCHES or view.query.position is None or "image" not in view.examples:
        return view
    criterion = Criterion((view.query.position,), contrast=view.target)
    try:
        opened = live.opened(view.run)
        size = opened.what_if.size(view.stage, 0)

        def of(rows: list[int]) -> np.ndarray:
            return live.patches(opened, criterion, view.stage, rows, heat.side_of(size))

        found = dataclasses.replace(view, patch=of, picture_size=size)
        _ = found.patches  # now, so that what goes wrong is told here
        return found
    except UpstreamError as error:
        state.notice(f"{escape.message(error)} The pictures are shown without their patches.")
        return view
