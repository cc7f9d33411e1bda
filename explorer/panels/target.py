"""What is explained: the loss of a class, or the margin between two."""

from __future__ import annotations

import streamlit as st

from explorer import plain, state, theme
from influence.live import Target

NONE = "nothing (its loss alone)"


def choose(classes: tuple[str, ...], prediction: str, key: str) -> Target:
    """Draw the choice of a class and of one to compare it with; `key` keeps it apart from other questions'."""
    with st.container(horizontal=True, gap="medium"):
        of = st.selectbox(
            "Explain", classes, index=classes.index(prediction), format_func=plain.visible, width=150,
            key=f"{state.TARGET}-of-{key}", help="The class whose loss is explained; first, what the model said.",
        )  # fmt: skip
        against = st.selectbox(
            "Rather than", [None, *(name for name in classes if name != of)], width=190,
            format_func=lambda name: NONE if name is None else plain.visible(name), key=f"{state.TARGET}-against-{key}",
            help="With a second class, the margin is explained: the loss of the first minus the loss of the second.",
        )  # fmt: skip
    return Target(of, against)


def words(target: Target) -> str:
    """What is explained, in a sentence, as it is (to be escaped)."""
    if target.against is None:
        return f"the loss of “{target.of}”"
    return f"the loss of “{target.of}” minus the loss of “{target.against}”"


def rule(target: Target, stage: str) -> str:
    """The sign rule for the target, as Streamlit markdown; `stage` is already escaped."""
    what = plain.for_markdown(words(target))
    return (
        f":blue[{theme.HELPFUL} **Helpful**]: leaving this example out of {stage} is predicted to *raise* {what}. "
        f":orange[{theme.HARMFUL} **Harmful**]: to *lower* it."
    )
