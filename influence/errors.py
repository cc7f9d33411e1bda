"""The named errors of the library: each message says what was given, what was expected and what to do.

And how such messages write names: `listed`, `printable`.
"""

import os
from collections.abc import Iterable
from pathlib import Path

SHOWN = 8
"""Names of a list that are written out."""


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


class RunError(UpstreamError):
    """A run on disk is missing, unfinished, damaged, of another format, or cannot be written."""


def listed(names: Iterable[str], last: str = ", ") -> str:
    """Names as a list in a sentence: "a, b, c", or with `last` " and ": "a, b and c".

    Of more than `SHOWN`, the first are written out, and how many more there are.
    """
    every = list(names)
    shown = [*every[: SHOWN - 1], f"{len(every) - SHOWN + 1} more"] if len(every) > SHOWN else every
    return last.join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def printable(path: Path | str) -> str:
    """A file name as text that can be shown and stored, whatever its bytes are."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
