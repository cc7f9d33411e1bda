"""What a live computation warns of that its run does not say already, maybe with slightly other figures."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

NEAR = 0.1
"""Share by which figures of the same warning may differ: a live computation finds them anew."""
_FIGURE = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w])")


def new(warnings: Iterable[str], told: Iterable[str]) -> list[str]:
    """Those of `warnings` that nothing `told` says: in other words, or with figures that are far off."""
    known = list(told)
    return [warning for warning in warnings if not any(_same(warning, each) for each in known)]


def _same(one: str, other: str) -> bool:
    if _FIGURE.sub("#", one) != _FIGURE.sub("#", other):
        return False
    pairs = zip(_FIGURE.findall(one), _FIGURE.findall(other), strict=True)
    return all(math.isclose(_number(a), _number(b), rel_tol=NEAR) for a, b in pairs)


def _number(figure: str) -> float:
    return float(figure.replace(",", ""))
