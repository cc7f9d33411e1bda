"""Names of classes that differ only by case or blanks, which mostly are meant to be one."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping


def folded(name: str) -> str:
    """A name without case, blanks and what cannot be seen; signs that look alike (é in one or two) are the same."""
    seen = "".join(sign for sign in unicodedata.normalize("NFKC", name) if unicodedata.category(sign) != "Cf")
    return "".join(seen.casefold().split())


def lookalikes(parts: Mapping[str, Iterable[str]]) -> list[str]:
    """A sentence for every group of names that differ only by case or blanks.

    Args:
        parts: what the names are of -> its names.
    """
    groups: dict[str, dict[str, str]] = {}
    for part, names in parts.items():
        for name in names:
            groups.setdefault(folded(name), {}).setdefault(name, part)
    return [
        f"The classes {' and '.join(f'{name!a} ({part})' for name, part in group.items())} differ only by case or "
        "blanks, and count as different ones. Give them one name if they are one class."
        for group in groups.values()
        if len(group) > 1
    ]


def hint(name: str, others: Iterable[str]) -> str:
    """A sentence for an error about a `name` that is none of `others`, where it looks like one; else nothing."""
    like = next((other for other in others if folded(other) == folded(name)), None)
    return "" if like is None else f" It differs from {like!a} only by case or blanks; give them one name."
