"""A new query as the user gives it (picture, drawing, text, or prompt and completion), as an item like the study's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DRAWING, PICTURE, TEXT, COMPLETION = "drawing", "picture", "text", "completion"
"""Forms of a question. A completion is given with its prompt: `encode((prompt, completion))`."""


@dataclass(frozen=True)
class Input:
    """A question as the model reads it.

    Attributes:
        item: of the form of the study's queries; its class is a placeholder.
        shown: what is shown of it, PNG bytes or the text; of a completion the prompt and the completion as one text.
        read: characters of the text that the model reads; None for pictures.
        notes: what a careful reader should know of how it was read.
        starts, ends: places in `shown`, in characters, of the tokens that the model reads, as in `tokens/` of a run
            (CONTRACT.md); () where they are not known, and no span of the text can be chosen then.
        prompt_end: characters of `shown` that are the prompt, whose tokens no loss is taken of.
    """

    item: Any
    shown: bytes | str
    read: int | None = None
    notes: tuple[str, ...] = ()
    starts: Sequence[int] = ()
    ends: Sequence[int] = ()
    prompt_end: int = 0
