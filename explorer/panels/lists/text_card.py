"""A text on a card: tokens shaded by their share of the score, words shared with the query, the part left unread."""

from __future__ import annotations

import dataclasses

from explorer.panels.lists.card import HARMFUL, HELPFUL, Card, Piece
from explorer.runs import splits, texts
from explorer.ui import escape, pictures, state, theme
from explorer.view.view import View

FAINTEST_SHARE = 0.04
"""Tokens with a smaller part of the card's largest share are left unshaded; their share is still told on hover."""
SPOKEN_TOKENS = 3
"""Tokens that a screen reader is told of, largest shares first."""


def of(view: View, card: Card, place: int, text: str, near: str, said: str) -> Card:
    """The card of an example that is a text; `near` and `said` come before and after the rest of the detail line."""
    example = view.examples.iloc[place]
    title, source = pictures.words(example, "title"), pictures.words(example, "source")
    label = example["label"] if str(example["label"]).strip() else ""
    parts = [label if title else "", source, f"#{example['id']}"]
    spans = view.splits.spans(place, text) if view.shading == state.TOKENS else []
    shared = shared_words(view) & texts.words(text)
    largest = max((abs(span.share) for span in spans), default=0.0)
    cut = texts.pieces(text, spans, view.splits.read(place, text), shared)
    return dataclasses.replace(
        card,
        label=escape.visible(title or label or f"#{example['id']}"),
        detail=near + " · ".join(escape.visible(part) for part in parts if part) + said,
        pieces=tuple(_piece(view, piece, largest) for piece in cut),
        spoken=_spoken(view, text, spans),
    )


def shared_words(view: View) -> frozenset[str]:
    """The query's words that are worth marking in other texts."""
    text = pictures.text(view.query.row)
    if not text:
        return frozenset()
    return texts.words(text) - splits.common_words(view.run, view.stage)


def legend(view: View) -> dict[str, object]:
    """The meaning of the marks on these cards; empty parts are left out."""
    listed = view.on_cards
    split = sum(view.splits.has(int(place)) for place in listed) if view.shading == state.TOKENS else 0
    return {
        "shading": "Tokens by share of the score; darkest: the largest on the card" if split else "",
        "helpful": theme.HELPFUL + " helpful",
        "harmful": theme.HARMFUL + " harmful",
        "shared": "also in the test text" if shared_words(view) else "",
        "missing": _missing(view, len(listed) - split) if view.shading == state.TOKENS else "",
    }


def _missing(view: View, without: int) -> str:
    """Says for how many cards there is no split, and why."""
    if not without:
        return ""
    if view.split is not None:
        return f"Not shaded: scores of {theme.stage_word(view.stage)} examples are not split over tokens."
    if not splits.stored(view.run, view.stage, view.method):
        return f"Not shaded: no split over tokens is stored of {theme.stage_word(view.stage)} examples."
    count = splits.strongest(view.run, view.stage, view.method)
    of = f"the {count} strongest of each sign" if count is not None else "the strongest"
    who = "these cards" if without == len(view.on_cards) else f"{without} of {len(view.on_cards)} cards"
    return f"Not shaded: {who}. The split over tokens is stored for {of} only."


def _piece(view: View, piece: texts.Piece, largest: float) -> Piece:
    looks = Piece(escape.visible(piece.text), shared=piece.shared or None, unread=piece.unread or None)
    if piece.share is None:
        return looks
    weight = abs(piece.share) / largest if largest else 0.0
    return dataclasses.replace(
        looks,
        sign=HELPFUL if piece.share >= 0 else HARMFUL,
        weight=round(weight, 3) if weight >= FAINTEST_SHARE else 0,
        title=share_title(view, piece.share),
    )


def share_title(view: View, share: float) -> str:
    """A token's share in full, for hovering."""
    symbol = theme.HELPFUL if share >= 0 else theme.HARMFUL
    return f"{symbol} {view.unit.full(share)} of the score"


def _spoken(view: View, text: str, spans: list[texts.Span]) -> str:
    """The largest shares in words."""
    if not spans:
        return ""
    strongest = sorted(spans, key=lambda span: -abs(span.share))[:SPOKEN_TOKENS]
    told = (f"“{escape.visible(text[s.start : s.end].strip())}” {view.unit.text(s.share)}" for s in strongest)
    return f"Largest shares of tokens: {', '.join(told)} {view.unit.name}".strip() + "."
