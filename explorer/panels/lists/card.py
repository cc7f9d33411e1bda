"""Cards and lists of cards, as the components `cards` and `joined_lists` draw them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from explorer.ui import theme

HELPFUL, HARMFUL, SINGLE = "helpful", "harmful", "single"
"""Sign of a card or list; SINGLE where a list holds both."""
SYMBOLS = {HELPFUL: theme.HELPFUL, HARMFUL: theme.HARMFUL}


@dataclasses.dataclass(frozen=True)
class Mark:
    """A symbol on a card, and its meaning, which is shown on hover."""

    text: str
    title: str


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of a text that looks the same throughout: shaded, underlined or dimmed."""

    text: str
    sign: str | None = None
    weight: float | None = None
    """Share of the score over the largest one on the card, 0..1; 0: too small to be shaded."""
    title: str | None = None
    shared: bool | None = None
    unread: bool | None = None


@dataclasses.dataclass(frozen=True)
class Card:
    """An example or a prediction in a list. Texts from data are escaped for display, not for HTML."""

    id: str
    sign: str
    label: str
    detail: str
    image: str | None
    alt: str
    score: str
    full: str = ""
    """The score in full, shown on hover."""
    width: float = 0.0
    """Length of the bar, 0..1."""
    ringed: bool = False
    placed: bool = True
    """Whether a press does something."""
    where: str | None = None
    """Words at the end of the first line; None: whether the point is ringed on the map."""
    href: str | None = None
    """Address that a press leads to; None: a press is an event."""
    marks: tuple[Mark, ...] = ()
    noted: str | None = None
    pieces: tuple[Piece, ...] | None = None
    """The text; None for an example without one."""
    spoken: str | None = None
    """The shading in words, for screen readers."""
    heat: Mapping[str, Any] | None = None
    """The patches of the picture, as `heat.of` has them."""

    def json(self) -> dict[str, Any]:
        """The card as the components read it, without the fields that are None."""
        sent = _known(self) | {"marks": [_known(mark) for mark in self.marks]}
        return sent if self.pieces is None else sent | {"pieces": [_known(piece) for piece in self.pieces]}


@dataclasses.dataclass(frozen=True)
class CardList:
    """Cards under a heading."""

    title: str
    cards: tuple[Card, ...]
    empty: str
    """The sentence that stands in place of no cards."""
    sign: str = SINGLE
    symbol: str = ""
    unit: str = ""

    def json(self) -> dict[str, Any]:
        """The list as the component reads it."""
        return vars(self) | {"cards": [card.json() for card in self.cards]}


def _known(item: Card | Mark | Piece) -> dict[str, Any]:
    return {name: value for name, value in vars(item).items() if value is not None}
