"""The text of an example, of which words can be struck."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from explorer import components
from explorer.panels.what_if import choice
from explorer.runs import texts
from explorer.ui import escape, pictures
from influence.live import STRIKE, Alteration
from influence.run import Run

COMPONENT = "words"
MOST_WORDS = 600
"""Words of a text that can be struck by a press, its first."""


def draw(run: Run, stage: str, example: pd.Series, chosen: Sequence[Alteration]) -> None:
    """Draw the text of the example, with what is struck of it."""
    text = pictures.text(example) or ""
    struck = [each for each in chosen if each.kind == STRIKE]

    def toggle() -> None:
        word = str(components.event(COMPONENT, "toggled"))
        left = [each for each in struck if each.value.lower() != word.lower()]
        if len(left) == len(struck) and word:
            left.append(Alteration(STRIKE, stage, int(example["id"]), word))
        choice.choose(run, left)

    components.words(key=COMPONENT, data={"pieces": pieces(text, struck)}, on_toggled_change=toggle)
    st.caption("Press a word to strike it, wherever it stands in this text; the text without it is read anew.")


def pieces(text: str, struck: Sequence[Alteration]) -> list[dict[str, object]]:
    """The text in pieces that, put together, are the text; words say by which word they are struck."""
    gone = {str(each.value).lower() for each in struck}
    found: list[dict[str, object]] = []
    last = 0
    for start, end in texts.whole_words(text)[:MOST_WORDS]:
        word = text[start:end]
        found.append({"text": escape.visible(text[last:start])})
        found.append({"text": escape.visible(text[start:end]), "word": word, "struck": word.lower() in gone})
        last = end
    found.append({"text": escape.visible(text[last:])})
    return [piece for piece in found if piece["text"]]
