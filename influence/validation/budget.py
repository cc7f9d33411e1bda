"""Times as people write them."""

from __future__ import annotations

import re

from influence.errors import RunError

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def seconds_of(text: str) -> float:
    """Seconds of a time such as `90s`, `10m` or `1.5h`.

    Raises:
        RunError: it is no such time, or none at all.
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smh])", text.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not seconds:
        raise RunError(f"The budget is {text!r}, expected a time such as 90s, 10m or 1h.")
    return seconds
