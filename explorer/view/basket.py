"""The training examples that a visitor has set aside, as the URL keeps them."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

LARGEST_BASKET = 200
"""Ids that a basket holds at most: more would not fit in a link."""


def parse(text: str | None, examples: pd.DataFrame) -> tuple[list[int], list[str]]:
    """Rows of the examples that the URL names, without repeats, and the words in it that name none."""
    words = list(dict.fromkeys(word for word in (text or "").split(",") if word))
    by_id = {str(name): row for row, name in enumerate(examples["id"])} if words else {}
    known = [by_id[word] for word in words[:LARGEST_BASKET] if word in by_id]
    return known, [word for word in words if word not in by_id]


def text_of(rows: Iterable[int], examples: pd.DataFrame) -> str | None:
    """A basket for the URL; None if it is empty.

    Raises:
        ValueError: it holds more than LARGEST_BASKET examples.
    """
    names = [str(examples["id"].iloc[row]) for row in dict.fromkeys(rows)]
    if len(names) > LARGEST_BASKET:
        raise ValueError(f"A basket holds at most {LARGEST_BASKET} examples, not {len(names)}.")
    return ",".join(names) or None
