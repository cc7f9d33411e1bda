"""A new query as the user gives it (picture, drawing or text), converted to an item like the study's queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DRAWING, PICTURE, TEXT = "drawing", "picture", "text"
"""Forms of a question."""


@dataclass(frozen=True)
class Input:
    """A question as the model reads it.

    Attributes:
        item: of the form of the study's queries; its class is a placeholder.
        shown: what is shown of it, PNG bytes or the text.
        read: characters of the text that the model reads; None for pictures.
        notes: what a careful reader should know of how it was read.
    """

    item: Any
    shown: bytes | str
    read: int | None = None
    notes: tuple[str, ...] = ()
