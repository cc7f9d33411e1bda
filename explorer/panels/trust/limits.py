"""Five limits of the scores that no check removes, under every verdict."""

from __future__ import annotations

import streamlit as st

from explorer.ui import widgets

SENTENCES = (
    "They are derivatives at one trained model: the larger the change, the less they say of it, and the strongest "
    "examples are where they are least exact.",
    "An example that has copies or close relatives scores low, since the others stand in for it; leaving all of them "
    "out may do much.",
    "They explain the loss of a prediction, not whether the example is true, good or meant to be there.",
    "Another seed, order of the data or network may have learned the same from other examples: on small digit models, "
    "what the same examples really did under two seeds agreed with r from 0.3 to 0.7 only.",
    "“Left out” is compared with training in the same way on the rest: what other data in its place would have done "
    "is not measured.",
)


def draw() -> None:
    widgets.heading("Five things that these numbers cannot tell")
    st.html(f'<ol class="up-limits">{"".join(f"<li>{sentence}</li>" for sentence in SENTENCES)}</ol>')
