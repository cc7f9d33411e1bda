"""The text of a query without classes, of which a span can be chosen: the prompt quiet, tokens shaded by their loss."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import streamlit as st

from explorer import components
from explorer.runs import completions
from explorer.runs.completions import Completion
from explorer.ui import escape, state, theme
from influence.errors import StudyError
from influence.live import Span
from influence.run import Run

COMPONENT = "completion_text"
MOST_TOKENS = 2_000
"""Tokens of a text that can be chosen, its first."""


def chosen(run: Run, position: int) -> Span | None:
    """The span of a stored query that the URL names; None without one, or after saying why it is none."""
    table = run.queries()
    return chosen_of(completions.of_query(run, position), table["id"].iloc[position])


def chosen_of(completion: Completion | None, name: object) -> Span | None:
    """The same, of any text; `name` is the query's. One of another query's is silently let go."""
    text = state.clicked(state.SPAN)
    if text is None:
        return None
    found = completions.parse(text)
    if found is not None and found[0] != str(name):
        state.click(state.SPAN, None)
        return None
    try:
        span = completions.chosen(completion, name, text)
    except StudyError as error:
        state.click(state.SPAN, None)
        state.notice(f"{escape.message(error)} The whole is explained.")
        return None
    if span is None:
        state.click(state.SPAN, None)
        state.notice(f"The link's span “{escape.for_markdown(text)}” is none of this text; the whole is explained.")
    return span


def draw(completion: Completion, name: object, span: Span | None, title: str = "", offered: bool = True) -> None:
    """Draw the text; where a choice is `offered`, what is chosen of it goes into the URL. `name` is the query's."""

    def choose() -> None:
        ends = components.event(COMPONENT, "chosen")
        if isinstance(ends, list) and len(ends) == 2:
            state.click(state.SPAN, completions.written(name, int(ends[0]), int(ends[1])))
        else:
            state.click(state.SPAN, None)

    sent = {
        "title": escape.visible(title),
        "noun": completion.noun,
        "pieces": pieces(completion, span),
        "offered": offered,
    }
    components.completion(key=COMPONENT, data=sent, on_chosen_change=choose)
    _caption(completion, span, offered)


def _caption(completion: Completion, span: Span | None, offered: bool) -> None:
    if not completion.shown:
        return
    if span is None:
        shaded = "" if completion.losses is None else "The darker a token, the larger its loss. "
        how = "Press a token, or drag over several, to explain their loss alone." if offered else ""
        if shaded or how:
            st.caption(f"{shaded}{how}")
        return
    loss = completion.loss(span)
    of = "" if loss is None else f", {theme.number(loss)} nat"
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="span"):
        st.markdown(f"Explained: “{escape.for_markdown(span.text)}”{of}", width="content")
        st.button(
            f"Whole {completion.noun}",
            icon=":material/close:",
            key="clear_span",
            help=f"Explain the loss on the whole {completion.noun} again",
            on_click=state.click,
            args=(state.SPAN, None),
        )


def pieces(completion: Completion, span: Span | None) -> list[dict[str, Any]]:
    """The text in pieces that, put together, are the text: quiet ones, and tokens that can be chosen."""
    text, tokens = completion.text, completion.shown[:MOST_TOKENS]
    start, stop = (0, 0) if span is None else completion.characters(span)
    largest = max((token.share for token in tokens), default=0.0)
    known = completion.losses is not None
    found: list[dict[str, Any]] = []
    last = 0
    for token in tokens:
        found += _quiet(text, last, token.start, completion.prompt_end)
        shown = escape.visible(text[token.start : token.end])
        loss = f"loss {theme.number(token.share)} nat" if known else ""
        found.append({
            "text": shown, "start": token.start, "stop": token.end,
            "chosen": start <= token.start < stop,
            "weight": round(max(0.0, token.share) / largest, 3) if largest > 0 else 0.0,
            "said": loss,
        })  # fmt: skip
        last = token.end
    read = int(np.max(completion.ends, initial=0)) if len(completion.shown) == len(tokens) else len(text)
    return found + _quiet(text, last, len(text), completion.prompt_end, max(read, last))


def _quiet(text: str, start: int, stop: int, prompt_end: int, read: int | None = None) -> list[dict[str, Any]]:
    """The part of a text between two tokens: the prompt, space between tokens, and what the model did not read."""
    cuts = sorted({start, stop, *(each for each in (prompt_end, read) if each is not None and start < each < stop)})
    found = []
    for first, last in itertools.pairwise(cuts):
        kind = "prompt" if last <= prompt_end else "unread" if read is not None and first >= read else ""
        if kind == "unread" and not text[first:last].strip():
            kind = ""
        found.append({"text": escape.visible(text[first:last]), "kind": kind})
    return found


def html(completion: Completion, span: Span | None) -> str:
    """The same as HTML with everything from data escaped, for what is taken along."""
    parts = []
    for piece in pieces(completion, span):
        shown, kind = escape.for_html(piece["text"]), piece.get("kind", "")
        if piece.get("chosen"):
            parts.append(f"<mark>{shown}</mark>")
        elif kind == "unread":
            parts.append(f'<span class="up-note">not read by the model</span> <span class="up-unread">{shown}</span>')
        else:
            parts.append(f'<span class="up-unread">{shown}</span>' if kind == "prompt" else shown)
    return "".join(parts)
