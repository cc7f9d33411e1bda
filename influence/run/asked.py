"""What a run's study is made from, as its run.json says."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from influence.errors import RunError
from influence.run.reading import Run, no_models

REFERENCE = re.compile(r"(?P<path>.+\.py)(?::(?P<function>.*))?", re.DOTALL)
"""FILE.py:FUNCTION."""
LONGEST_TEXT, LONGEST_PART = 4096, 255
"""Characters of a text, and bytes of a path's part."""
MOST_TEXTS = 1000
"""In a list."""
LARGEST = 10**9
"""Of whole numbers that say how many."""
SHOWN_CHARACTERS = 60
"""Characters of a value that a message quotes."""

Fits = Callable[[Any], bool]


def _is_text(told: Any) -> bool:
    return isinstance(told, str) and 0 < len(told) <= LONGEST_TEXT and "\0" not in told


def _is_path(told: Any) -> bool:
    return _is_text(told) and all(len(os.fsencode(part)) <= LONGEST_PART for part in Path(told).parts)


def _are_paths(count: int) -> Fits:
    return lambda told: isinstance(told, list) and len(told) == count and all(map(_is_path, told))


def _are_texts(told: Any) -> bool:
    return isinstance(told, list) and len(told) <= MOST_TEXTS and all(map(_is_text, told))


def _is_count(least: int, most: int = LARGEST) -> Fits:
    return lambda told: type(told) is int and least <= told <= most


def _is_number(told: Any) -> bool:
    return type(told) in (int, float) and 0 <= told < math.inf


def _is_decay(told: Any) -> bool:
    return _is_number(told) or (
        isinstance(told, dict) and all(map(_is_text, told)) and all(map(_is_number, told.values()))
    )


def _are_terms(told: Any) -> bool:
    """Of each stage's objective, and what damps them."""
    if not (isinstance(told, dict) and told.keys() == {"stages", "damping"} and isinstance(told["stages"], list)):
        return False
    return (told["damping"] is None or _is_number(told["damping"])) and all(
        isinstance(each, dict)
        and each.keys() == {"l2", "proximity"}
        and _is_decay(each["l2"])
        and _is_number(each["proximity"])
        for each in told["stages"]
    )


OPTIONS: dict[str, Fits] = {
    **dict.fromkeys(("data", "weights", "sentence_model"), _is_path),
    **dict.fromkeys(("model", "finetuning", "objective", "arch"), _is_text),
    **dict.fromkeys((f"{kind}_column" for kind in ("text", "label", "title", "source", "prompt", "pair")), _is_text),
    **dict.fromkeys(("frozen", "inherits", "new"), _are_texts),
    "proximity": _is_number,
    "size": _is_count(1, 4096),
    "epochs": _is_count(1),
    "queries": _is_count(0),
    "sample": _is_count(2),
    "vocabulary": _is_count(4),
    "context": _is_count(2, 10**6),
    "l2": lambda told: _is_number(told) or _are_texts(told),
}
"""Option of a study -> whether a value can be its own."""
SOLVING: dict[str, Fits] = {
    "method": _is_text,
    "curvature": _is_text,
    "damping": _is_number,
    "seeds": _is_count(1, 100),
    "keep": _is_text,
}
FORM: dict[str, Fits | dict[str, Fits]] = {
    "study": _is_text,
    "models": _are_paths(2),
    "terms": _are_terms,
    "images": _are_paths(3),
    "texts": _are_paths(3),
    "seed": _is_count(0, 2**32 - 1),
    "options": OPTIONS,
    "solving": SOLVING,
}
"""The form of `asked`, as CONTRACT.md states it; every value may be null, too."""


def asked_of(run: Run, function: str | None = None) -> dict[str, Any]:
    """What the run's study is made from, as CONTRACT.md says of `asked`; nothing is read but run.json.

    Raises:
        RunError: the run was imported, does not say it, or in another form, or names code and `function` is not given.
    """
    if run.manifest.imported:
        raise RunError(no_models(run.name))
    asked = {name: told for name, told in run.manifest.asked.items() if name in FORM}
    if function is not None:
        asked |= {"study": function, "images": None, "texts": None, "options": {}}
    _refuse_other_forms(run, asked, FORM)
    if function is None and is_reference(asked.get("study") or ""):
        raise RunError(
            f"Run {run.name} was computed from the function {asked['study']}. Code that a run names is not executed by "
            "itself: give that function with --study, if you trust it."
        )
    if not asked:
        raise RunError(
            f"Run {run.name} was computed from Python and does not say how its study is made. Start the command, or "
            "`upstream explore`, with --study FILE.py:FUNCTION."
        )
    return asked


def _refuse_other_forms(run: Run, told: Any, form: Mapping[str, Any], where: str = "") -> None:
    if not isinstance(told, Mapping):
        raise _other_form(run, where, told)
    for name, value in told.items():
        fits, place = form.get(name), f"{where} {name}".strip()
        if fits is None:
            raise _other_form(run, place, value)
        if value is None:
            continue
        if isinstance(fits, Mapping):
            _refuse_other_forms(run, value, fits, place)
        elif not fits(value):
            raise _other_form(run, place, value)


def _other_form(run: Run, place: str, told: Any) -> RunError:
    kinds: dict[type, str] = {list: "a list", dict: "an object"}
    shown = kinds.get(type(told)) or repr(told)[:SHOWN_CHARACTERS]
    return RunError(
        f"run.json of run {run.name} says of how its study is made: {place[:SHOWN_CHARACTERS]} is {shown}, which no "
        "command of upstream writes. The run can be looked at; to check it or to ask it, compute it again with "
        "`upstream precompute`."
    )


def is_reference(text: str) -> bool:
    """Whether `text` means a Python file, and not a built-in study."""
    return REFERENCE.fullmatch(text) is not None
