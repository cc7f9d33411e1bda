"""The picture of an example, of which a part can be blanked; its patches in colour where that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from explorer import components
from explorer.jobs import live
from explorer.panels.lists import heat
from explorer.panels.what_if import choice
from explorer.ui import escape, pictures, state, theme
from explorer.view.criterion import Judgement
from influence.live import MASK, Alteration
from influence.run import Run

if TYPE_CHECKING:
    from influence.live import Live

COMPONENT = "brush"
HINT = "Drag over a part to blank it."
KEYS = "Arrow keys put a blank part in the middle and move it, with Shift they change its size, Delete takes it away."


def draw(
    run: Run, opened: Live, stage: str, row: int, by: Judgement, chosen: Sequence[Alteration], unit: theme.Unit
) -> None:
    """Draw the picture of the example at `row`, with what is blank of it.

    Raises:
        StudyError: the model's input of this example is no picture.
    """
    example, size = run.examples(stage).iloc[row], opened.what_if.size(stage, row)
    shaded = st.toggle("Where in it", key=state.WHERE, bind="query-params", help=heat.ABOUT)
    patches = live.patches(opened, by.criterion, stage, [row], heat.side_of(size))[0] if shaded else None
    box = next((list(each.value) for each in chosen if each.kind == MASK and fits(each.value, size)), None)

    def take() -> None:
        drawn = str(components.event(COMPONENT, "boxed") or "")
        made = [Alteration(MASK, stage, int(example["id"]), tuple(map(int, drawn.split(","))))] if drawn else []
        choice.choose(run, made)

    sent = {
        "image": pictures.data_url(example),
        "alt": f"Training example {example['id']}, label {escape.visible(example['label'])}",
        "width": size[0],
        "height": size[1],
        "box": box,
        "hint": HINT,
        "keys": KEYS,
        "heat": None if patches is None else heat.of(patches, size, unit),
    }
    components.brush(key=COMPONENT, data=sent, on_boxed_change=take)
    st.caption(
        "A blank part is filled with the mean of the pixels around it; black would be a shape itself."
        + (f" {heat.words(patches, unit)}" if patches is not None else "")
    )


def fits(box: tuple[int, int, int, int], size: tuple[int, int]) -> bool:
    """Whether a box lies within a picture of this width and height; of one that does not, the prediction tells."""
    left, top, width, height = box
    return left + width <= size[0] and top + height <= size[1]
