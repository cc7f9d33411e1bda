"""What is asked of a model, and what it says: all that a page needs before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from influence.errors import StudyError
from influence.studies.images.picture_files import UPLOAD_PIXELS, open_picture, thumbnail
from influence.studies.question import COMPLETION, DRAWING, PICTURE, TEXT, Input

__all__ = [
    "COMPLETION",
    "DRAWING",
    "PICTURE",
    "TEXT",
    "UPLOAD_PIXELS",
    "Contrast",
    "Input",
    "Reading",
    "Span",
    "Target",
    "TokenReading",
    "open_picture",
    "span_of",
    "thumbnail",
]


@dataclass(frozen=True)
class Contrast:
    """What is explained: the loss of class `of`, or (with `against`) that loss minus the loss of class `against`.

    A positive score means that the example helps the model to say `of`, or to prefer it to `against`.
    """

    of: str
    against: str | None = None


@dataclass(frozen=True)
class Span:
    """What is explained: the part of the study's measure that some tokens of a text have; by default all of it.

    Of a language model's completion it is the sum of -log p of these tokens, nats. Scores of spans without a common
    token add up to those of both together. A positive score means that the example helps the model to say these tokens.

    Attributes:
        tokens: ascending numbers of the text's tokens, in the order in which the model reads them; None: the measure
            as it is, of whatever kind.
        text: their characters, for people; no part of what is asked.
    """

    tokens: tuple[int, ...] | None = None
    text: str = field(default="", compare=False)


Target = Contrast | Span
"""What of a query is explained."""


@dataclass(frozen=True)
class Reading:
    """What the finetuned model makes of one item: probabilities (classes,), and its place in the embedding (d,).

    The place is empty, (0,), where the run's embedding is not its own model's.
    """

    prediction: str
    probabilities: np.ndarray
    embedding: np.ndarray


@dataclass(frozen=True)
class TokenReading:
    """What a model without classes makes of one item: its loss, and its place in the embedding (d,), as `Reading` has.

    Attributes:
        loss: the study's measure, nats.
        token_losses: (L,), each token's part of it, 0 for those of a prompt; None where the study gives none.
    """

    loss: float
    token_losses: np.ndarray | None
    embedding: np.ndarray


def span_of(
    starts: Sequence[int] | np.ndarray,
    ends: Sequence[int] | np.ndarray,
    start: int,
    stop: int,
    prompt_end: int = 0,
) -> Span:
    """The tokens of a text that have characters between `start` and `stop`; one that is cut there counts whole.

    A token without characters, such as the end of the text, belongs to the characters that end where it stands.

    Args:
        starts: where each of the text's tokens begins, in characters, as in `tokens/queries.parquet`.
        ends: where each ends.
        start: the first character of the span.
        stop: the character after its last.
        prompt_end: characters that are the prompt, whose tokens are of no span.

    Raises:
        StudyError: it has no token, or none but the prompt's.
    """
    begins, stops = np.asarray(starts, dtype=np.int64), np.asarray(ends, dtype=np.int64)
    follows = (start < begins) | ((begins == 0) & (start == 0))
    blank = (begins == stops) & follows & (begins <= stop)
    chosen = ((begins < stop) & (stops > start) & (begins < stops)) | blank
    own = chosen & ((stops > prompt_end) | (blank & (begins >= prompt_end)))
    if not own.any():
        where = "only of the prompt, which no loss is taken of" if chosen.any() else "of none"
        last = int(stops.max(initial=0))
        raise StudyError(
            f"The span from character {start} to {stop} has tokens {where}. Choose characters of "
            f"{'the completion, ' if prompt_end else 'the text, '}{prompt_end} to {last}."
        )
    return Span(tuple(np.flatnonzero(own).tolist()))
