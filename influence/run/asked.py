"""What a run's study is made from, as its run.json says."""

from __future__ import annotations

import re
from typing import Any

from influence.errors import RunError
from influence.run.reading import Run

REFERENCE = re.compile(r"(?P<path>.+\.py)(?::(?P<function>.*))?", re.DOTALL)
"""FILE.py:FUNCTION."""


def asked_of(run: Run, function: str | None = None) -> dict[str, Any]:
    """What the run's study is made from, as CONTRACT.md says of `asked`; nothing is read but run.json.

    Raises:
        RunError: the run does not say it, or names code and `function` is not given.
    """
    asked = dict(run.manifest.asked)
    if function is not None:
        asked |= {"study": function, "images": None, "texts": None, "options": {}}
    elif is_reference(asked.get("study") or ""):
        raise RunError(
            f"Run {run.name} was computed from the function {asked['study']}. Code that a run names is not executed by "
            "itself: give that function, if you trust it."
        )
    elif not asked:
        raise RunError(
            f"Run {run.name} was computed from Python and does not say how its study is made. Give FILE.py:FUNCTION."
        )
    return asked


def is_reference(text: str) -> bool:
    """Whether `text` means a Python file, and not a built-in study."""
    return REFERENCE.fullmatch(text) is not None
