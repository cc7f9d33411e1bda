"""The target of an explanation: the loss of a class, or the margin between two classes."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from explorer.ui import escape, state, theme
from influence.live import Contrast, Span, Target

NONE = "nothing (its loss alone)"


def choose(classes: tuple[str, ...], prediction: str) -> Contrast:
    """Draw the choice of a class, by default what the model said, and of one to compare it with; the URL has both."""
    with st.container(horizontal=True, gap="medium"):
        of = pick(
            "Explain",
            classes,
            prediction,
            state.EXPLAINED,
            150,
            "The class whose loss is explained; first, what the model said.",
        )
        against = pick(
            "Rather than",
            ["", *(name for name in classes if name != of)],
            "",
            state.AGAINST,
            190,
            "With a second class, the margin is explained: the loss of the first minus the loss of the second.",
        )
    return Contrast(of, against or None)


def pick(label: str, options: Sequence[str], usual: str, url: str, width: int, about: str = "") -> str:
    """Draw a choice of a class that is in the URL only if it was made: until then it is the `usual` one."""
    key = f"choose_{url}"
    wanted = state.parsed(
        url,
        lambda text: text if text in options else None,
        lambda text: f"The link's class “{text}” cannot be chosen here; the usual one is taken.",
    )

    def take() -> None:
        chosen = st.session_state[key]
        state.click(url, None if chosen == usual else chosen)

    # The widget follows the URL: what was chosen stays for the next question, and a new one begins with what is said.
    st.session_state[key] = usual if wanted is None else wanted
    return st.selectbox(
        label,
        options,
        key=key,
        on_change=take,
        width=width,
        help=about or None,
        format_func=lambda name: escape.visible(name) if name else NONE,
    )


def words(target: Target) -> str:
    """The target in words, unescaped."""
    if isinstance(target, Span):
        return f"the loss on “{target.text}”" if target.text else "the whole loss"
    if target.against is None:
        return f"the loss of “{target.of}”"
    return f"the loss of “{target.of}” minus the loss of “{target.against}”"


def rule(target: Target, stage: str) -> str:
    """The sign rule for the target, as Streamlit markdown; `stage` is already escaped."""
    what = escape.for_markdown(words(target))
    return (
        f":blue[{theme.HELPFUL} **Helpful**]: leaving this example out of {stage} is predicted to *raise* {what}. "
        f":orange[{theme.HARMFUL} **Harmful**]: to *lower* it."
    )
