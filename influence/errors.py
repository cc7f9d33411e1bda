"""The named errors of the library: each message says what was given, what was expected and what to do.

And how such messages write names, `listed` and `printable`, and which of them are new: `unsaid`.
"""

import functools
import math
import os
import re
from collections.abc import Iterable, Mapping

SHOWN = 8
"""Names of a list that are written out."""
NEAR = 0.1
"""Share by which figures of one and the same warning may differ: another computation finds them anew."""
_FIGURE = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w])")

UNSEEN = (*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000))
"""Characters that cannot be seen and do something: control characters, ends of lines, turned directions of reading.

The last are halves of a character, and bytes of a file's name that are no UTF-8.
"""


class UpstreamError(Exception):
    """Base of every error that the user can mend; the command line prints it and exits with code 2."""


class StudyError(UpstreamError):
    """A stage or study is described inconsistently: names, shapes, patterns, empty data."""


class LossError(UpstreamError):
    """A loss or measure does not return finite per-example values of shape (B,), or torch cannot differentiate it."""


class CurvatureError(UpstreamError):
    """A solve is not well defined: negative curvature, no convergence, too many parameters."""


class MethodError(UpstreamError):
    """An unknown method, or an option that the method does not have."""


class TrainingError(UpstreamError):
    """A stage could not be fitted."""


class ScoresError(UpstreamError):
    """Scores of another tool cannot be read, are no finite numbers, or do not fit the tables of what they are about."""


class RunError(UpstreamError):
    """A run on disk is missing, unfinished, damaged, of another format, or cannot be written."""


class EngineError(UpstreamError):
    """A cluster does not answer, has no room, is unlike this process, or its workers ended at the same piece."""


def listed(names: Iterable[str], last: str = ", ") -> str:
    """Names as a list in a sentence: "a, b, c", or with `last` " and ": "a, b and c".

    Of more than `SHOWN`, the first are written out, and how many more there are.
    """
    every = list(names)
    shown = [*every[: SHOWN - 1], f"{len(every) - SHOWN + 1} more"] if len(every) > SHOWN else every
    return last.join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def printable(text: str | os.PathLike[str], kept: str = "") -> str:
    """A text from outside, such as a file's name, so that it can be shown and stored, and no terminal obeys it.

    What cannot be seen is written as Python would write it; characters that are `kept` (newlines, say) stay.
    """
    return os.fspath(text).translate(_escapes(kept))


@functools.cache
def _escapes(kept: str) -> Mapping[int, str]:
    known = {code: chr(code).encode("unicode_escape").decode() for code in UNSEEN if chr(code) not in kept}
    return known | {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}


def unsaid(warnings: Iterable[str], told: Iterable[str]) -> list[str]:
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
