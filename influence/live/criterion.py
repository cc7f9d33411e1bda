"""`Criterion`: what edits are judged by, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from influence.live.question import Target


@dataclass(frozen=True)
class Criterion:
    """One number made of a run's queries, which edits of the training data raise or lower.

    Attributes:
        rows: positions of queries; their mean loss.
        against: positions of others: the number is then the mean loss over `rows` less that over these.
        error_of: name of a class, whose error over all queries it is (`influence.targets.error`); `rows` is ().
        contrast: of the only query of `rows`: the loss of a class, the difference of two, or that of a span of its
            text, in place of its own loss.
    """

    rows: tuple[int, ...]
    against: tuple[int, ...] = ()
    error_of: str | None = None
    contrast: Target | None = None
