"""The built-in studies, by name."""

from __future__ import annotations

from influence.errors import StudyError
from influence.studies.images.cifar10 import Cifar10
from influence.studies.images.fashion import Fashion
from influence.studies.planted.scanner import DemoDigits
from influence.studies.texts.definitions import Definitions

BuiltIn = type[DemoDigits] | type[Definitions] | type[Cifar10] | type[Fashion]
STUDIES: dict[str, BuiltIn] = {study.card.name: study for study in (DemoDigits, Definitions, Cifar10, Fashion)}


def study_named(name: str) -> BuiltIn:
    """The built-in study called `name`.

    Raises:
        StudyError: there is none.
    """
    if name not in STUDIES:
        raise StudyError(
            f"There is no built-in study {name!r}; the studies are {', '.join(STUDIES)} (see `upstream studies`). Your "
            "own: `upstream precompute FILE.py:FUNCTION`, or `--images`."
        )
    return STUDIES[name]
