"""One text for a label, whatever a format made of its value: 1 and 1.0, TRUE and True, a date with midnight or without.

CSV holds texts only, Parquet and JSON know numbers, truth values and dates; a spreadsheet rewrites all of them.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np

NO_CLASS = ("", "nan", "null", "<na>", "nat")
"""Labels (lower case) that stand for a missing one; pandas and Arrow write these."""
PERHAPS_NONE = ("na", "n/a", "#n/a", "none")
"""Labels (lower case) that may be a class, or stand for a missing one."""
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*)?(e[+-][0-9]{1,3})?")
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(\.[0-9]+)?(Z|[+-][0-9:]{4,6})?")


def plain_text(value: Any) -> str:
    """A value of a column as text, "" for a missing one. A text stays as it is."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        return _time(value.isoformat(" "))
    if isinstance(value, float | np.floating | Decimal):
        return "" if value != value else _number(str(value))
    return str(value)


@lru_cache(maxsize=4096)  # of classes there are few
def label_text(text: str) -> str:
    """A label without blanks around it, in the spelling that its number, date or truth value always has."""
    text = text.strip()
    if text.casefold() in ("true", "false"):
        return text.capitalize()
    if _NUMBER.fullmatch(text) and not text.lstrip("-").isdigit():
        return _number(text)
    return _time(text)


def is_fraction(label: str) -> bool:
    """Whether a label is a number that is not whole."""
    return "." in label and _NUMBER.fullmatch(label) is not None


def told(name: str, spellings: Mapping[str, Iterable[str]]) -> list[str]:
    """Sentences about the labels of file `name` that are written in several ways, or may be none.

    Args:
        name: of the file.
        spellings: label -> the texts that stand for it in the file.
    """
    several = [" and ".join(map(repr, sorted(texts))) for texts in map(list, spellings.values()) if len(texts) > 1]
    perhaps = [repr(label) for label in spellings if label.casefold() in PERHAPS_NONE]
    truths, numbers = ([label for label in pair if label in spellings] for pair in (("True", "False"), ("1", "0")))
    notes = []
    if several:
        notes.append(
            f"Labels of {name} that are written in several ways count as one class: {', '.join(several[:10])}."
        )
    if perhaps:
        notes.append(
            f"{name} has the classes {', '.join(perhaps)}. Where they stand for a missing label, leave these texts out."
        )
    if truths and numbers:
        notes.append(f"{name} has the labels {truths[0]} and {numbers[0]}, which count as different classes.")
    return notes


def _number(text: str) -> str:
    """`text` of a number without an exponent and without zeros at its end."""
    value = Decimal(text)
    if not value.is_finite():
        return text
    return str(int(value)) if value == int(value) else f"{value:f}".rstrip("0")


def _time(text: str) -> str:
    """A date and time as Python writes it, and without the time where that is midnight of no zone; else `text`."""
    found = _TIME.fullmatch(text)
    if found is None:
        return text
    date, clock, fraction, zone = found.groups("")
    clock += "" if clock.count(":") == 2 else ":00"
    fraction = fraction.rstrip("0").rstrip(".")
    if zone:
        digits = "+00:00" if zone == "Z" else zone.replace(":", "")
        return f"{date} {clock}{fraction}{digits if zone == 'Z' else f'{digits[:3]}:{digits[3:]}'}"
    return date if clock == "00:00:00" and not fraction else f"{date} {clock}{fraction}"
