"""Spans of a query's text: its tokens with their losses, and the span that is chosen, in characters and in tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from explorer.runs import queries, texts
from explorer.ui import pictures
from influence.errors import RunError, StudyError
from influence.live import Input, Span, span_of
from influence.run import Run


@dataclasses.dataclass(frozen=True, eq=False)
class Completion:
    """A text that a language model is asked about; all of it, or what follows its prompt.

    Attributes:
        text: prompt and completion.
        starts, ends: places of its tokens, (L,), in characters; empty where they are not known.
        losses: (L,) of its tokens, nats; None where they are not known.
        prompt_end: characters of the text that are the prompt.
    """

    text: str
    starts: np.ndarray
    ends: np.ndarray
    losses: np.ndarray | None = None
    prompt_end: int = 0

    @property
    def noun(self) -> str:
        """What it is called."""
        return noun(self.text, self.prompt_end)

    def span(self, start: int, stop: int) -> Span:
        """The tokens of the characters `start` to `stop`.

        Raises:
            StudyError: there are none, or none but the prompt's.
        """
        found = span_of(self.starts, self.ends, start, stop, self.prompt_end)
        first, last = self.characters(found)
        return Span(found.tokens, self.text[first:last])

    def characters(self, span: Span) -> tuple[int, int]:
        """From which character to which a span's tokens go; all of the completion where it names none."""
        if span.tokens is None:
            return self.prompt_end, len(self.text)
        tokens = list(span.tokens)
        return int(self.starts[tokens].min()), int(self.ends[tokens].max())

    def loss(self, span: Span) -> float | None:
        """Of a span, nats; None where it is not known."""
        if self.losses is None or span.tokens is None:
            return None
        return float(self.losses[list(span.tokens)].sum(dtype=np.float64))

    @property
    def shown(self) -> list[texts.Span]:
        """The tokens that can be chosen, in the order of the text, with their losses as shares (0 if not known)."""
        losses = np.zeros(len(self.starts)) if self.losses is None else self.losses
        own = (self.ends > self.prompt_end) & (self.ends > self.starts)
        return texts.spans(self.starts[own], self.ends[own], losses[own])


def noun(text: object, prompt_end: int = 0) -> str:
    """What a query of a run without classes is called: a completion, a text or an item."""
    if not isinstance(text, str):
        return "item"
    return "completion" if prompt_end else "text"


def noun_of(query: pd.Series) -> str:
    """The same, of a row of the queries."""
    return noun(pictures.text(query), prompt_end(query))


def prompt_end(query: pd.Series) -> int:
    """Characters of a row's text that are its prompt, 0 where it has none."""
    text, said = pictures.text(query), query.get("prompt_end", 0)
    known = text is not None and isinstance(said, int | np.integer) and 0 <= said <= len(text)
    return int(said) if known else 0


def of_query(run: Run, position: int) -> Completion | None:
    """A query's text, of a run without classes; None if it has none, or its tokens are not known or do not fit."""
    row = run.queries().iloc[position]
    text = pictures.text(row)
    if run.classes or text is None:
        return None
    try:
        table = run.tokens(queries.QUERIES)
        if table is None or len(table) != len(run.queries()):
            return None
        starts, ends = (np.asarray(table[name].iloc[position], dtype=np.int64) for name in ("starts", "ends"))
        texts.checked(starts, ends, len(text))
    except (RunError, ValueError, TypeError):
        return None  # the panel of the prediction says so
    losses = np.asarray(table["losses"].iloc[position], dtype=np.float64) if "losses" in table else None
    if losses is not None and (len(losses) != len(starts) or not np.isfinite(losses).all()):
        losses = None
    return Completion(text, starts, ends, losses, prompt_end(row))


def of_input(asked: Input, losses: Sequence[float] | np.ndarray | None) -> Completion:
    """A new text as the model reads it; `losses` are those of its tokens, and of padding behind them."""
    starts, ends = (np.asarray(each, dtype=np.int64) for each in (asked.starts, asked.ends))
    own = None if losses is None or len(losses) < len(starts) else np.asarray(losses, dtype=np.float64)[: len(starts)]
    return Completion(str(asked.shown), starts, ends, own, asked.prompt_end)


def written(name: object, start: int, stop: int) -> str:
    """A span for the URL, which belongs to the query of that id."""
    return f"{name}-{start}-{stop}"


def parse(text: str) -> tuple[str, int, int] | None:
    """(id of the query, first character, character after the last) that the URL names; None if it names none."""
    name, *places = text.rsplit("-", 2)
    if len(places) != 2 or not all(place.isdecimal() and len(place) < 10 for place in places):
        return None
    start, stop = map(int, places)
    return (name, start, stop) if start < stop else None


def chosen(completion: Completion | None, name: object, text: str) -> Span | None:
    """The span of the query `name` that the URL's `text` means; None if it is none of this query's.

    Raises:
        StudyError: it has no token of the completion.
    """
    found = parse(text)
    if completion is None or found is None or found[0] != str(name):
        return None
    if found[2] > len(completion.text):
        raise StudyError(f"The span ends at character {found[2]:,} of a text of {len(completion.text):,}.")
    return completion.span(*found[1:])
